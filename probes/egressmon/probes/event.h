/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The wire format between the probes and the agent, written only here.
 *
 * wire.py reads this file, so the grammar is small: u8 u16 u32 u64 char, fixed
 * arrays, numbers by #define. Every struct begins with the same two fields,
 * has no padding, and may be followed by payload bytes (exec: arguments, dns:
 * one packet's payload). Ports are in host byte order; an address is sixteen
 * bytes, IPv4 in its mapped form ::ffff:a.b.c.d.
 */
#ifndef EGRESSMON_EVENT_H
#define EGRESSMON_EVENT_H

#define KIND_FORK 1
#define KIND_EXEC 2
#define KIND_EXIT 3
#define KIND_CONNECT 4
#define KIND_SENDMSG 5
#define KIND_PACKET 6
#define KIND_DNS 7

#define FLAG_REFUSED 1
#define FLAG_CANARY 2
#define FLAG_FOREIGN 4
#define FLAG_INGRESS 8
#define FLAG_LISTENER_EXACT 16
#define FLAG_LISTENER_WILDCARD 32
#define FLAG_TRUNCATED 64
#define FLAG_OWNERLESS 128

#define RING_BYTES 4194304

#define COMM_SIZE 16
#define ADDRESS_SIZE 16
#define ADDRESS_WORDS 4
#define PATH_SIZE 256
#define PAYLOAD_SMALL 512
#define PAYLOAD_LARGE 4096

/* Slots of the per-CPU counters; a LOST_* slot above zero makes a run incomplete. */
#define COUNT_LOST_PROCESS 0
#define COUNT_LOST_FLOW 1
#define COUNT_LOST_DNS 2
#define COUNT_LOST_LINEAGE 3
#define COUNT_LOST_SOCKET 4
#define COUNT_LOST_LISTENER 5
#define COUNT_LOST_PACKET 6
#define COUNT_SLOTS 7

struct traffic {
	u64 packets;
	u64 bytes;
};

/* What the agent tells the probes; the only element of the map `settings`. */
struct settings {
	u32 canary_armed;
	u32 canary_port;
	u32 canary_inet[ADDRESS_WORDS]; /* network order, as in the packet */
	u32 canary_inet6[ADDRESS_WORDS];
};

struct process_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u32 parent;
	u32 uid;
	u32 exit_code;
	u32 spare;
	char comm[COMM_SIZE];
};

struct exec_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u64 inode; /* of the executable; of a script, its interpreter's */
	u32 parent;
	u32 uid;
	u32 arguments_size;
	u32 payload_size;
	char comm[COMM_SIZE];
	char path[PATH_SIZE];
};

struct flow_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 cookie;
	u64 netns;
	u32 tid;
	u32 uid;
	u32 flags;
	u32 socket_type;
	u16 protocol;
	u16 port;
	u32 spare;
	u8 address[ADDRESS_SIZE];
	char comm[COMM_SIZE];
};

struct dns_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 cookie;
	u64 netns;
	u32 tid;
	u32 uid;
	u32 flags;
	u32 sequence;
	u32 segment_size;
	u32 payload_size;
	u16 protocol;
	u16 port;
	u32 total_size;
	u8 address[ADDRESS_SIZE];
	char comm[COMM_SIZE];
};

#endif
