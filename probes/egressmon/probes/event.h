/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The wire format between the probes and the agent, written only here.
 *
 * wire.py reads this file, so the grammar is small: u8 u16 u32 u64 char, fixed
 * arrays, numbers by #define. Every struct begins with the same two fields,
 * has no padding, and may be followed by payload bytes (exec: arguments, dns:
 * one packet's payload, stack: registers and a stack). Ports are in host byte order; an address
 * is sixteen bytes, IPv4 in its mapped form ::ffff:a.b.c.d.
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
#define KIND_STACK 8

#define FLAG_REFUSED 1
#define FLAG_CANARY 2
#define FLAG_FOREIGN 4
#define FLAG_INGRESS 8
#define FLAG_LISTENER_EXACT 16
#define FLAG_LISTENER_WILDCARD 32
#define FLAG_TRUNCATED 64
#define FLAG_OWNERLESS 128
#define FLAG_STACK_LOST 256

/* What a stack event holds, or why it holds no stack. */
#define STACK_COPIED 0
#define STACK_KNOWN 1 /* the same calls as those of a template */
#define STACK_KERNEL_THREAD 2
#define STACK_IO_WORKER 3
#define STACK_COMPAT 4 /* a 32-bit task: registers only */
#define STACK_UNREADABLE 5

#define RING_BYTES 4194304

#define COMM_SIZE 16
#define ADDRESS_SIZE 16
#define ADDRESS_WORDS 4
#define PATH_SIZE 256
#define PAYLOAD_SMALL 512
#define PAYLOAD_LARGE 4096
#define REGISTERS 34 /* of the architecture that has most; the rest are zero */
#define STACK_BYTES 16384
#define TEMPLATE_WORDS 24

/* Slots of the per-CPU counters; a LOST_* slot above zero makes a run incomplete. */
#define COUNT_LOST_PROCESS 0
#define COUNT_LOST_FLOW 1
#define COUNT_LOST_DNS 2
#define COUNT_LOST_LINEAGE 3
#define COUNT_LOST_SOCKET 4
#define COUNT_LOST_LISTENER 5
#define COUNT_LOST_PACKET 6
#define COUNT_MISSED_STACK 7
#define COUNT_SLOTS 8

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
	u32 stack_bytes; /* how much of a caller's stack to copy; 0: none */
	u32 spare;
};

/* A call site: two calls from it agree in the words of the template, or differ. */
struct template_key {
	u64 address_space;
	u64 instruction;
	u64 stack;
};

struct template_word {
	u64 offset; /* from the stack pointer */
	u64 value;
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
	u64 stack_ns; /* ktime_ns of the stack event of the same tid; 0: none */
	u8 address[ADDRESS_SIZE];
	char comm[COMM_SIZE];
};

/*
 * Who named a peer. Copied: struct registers and the top of the stack follow.
 */
struct stack_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u32 tid;
	u32 status;
	u64 address_space;
	u64 template;
	u32 payload_size; /* of the stack */
	u32 spare;
};

/* As the kernel has them: struct pt_regs, struct user_pt_regs. */
struct registers {
	u64 words[REGISTERS];
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
