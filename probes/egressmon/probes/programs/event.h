/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The wire format between the probes and the agent, written only here.
 *
 * wire.py reads this file, so the grammar is small: u8 u16 u32 u64 char, fixed
 * arrays, numbers by #define. Every struct begins with the same two fields,
 * has no padding, and may be followed by payload bytes (exec: arguments, dns:
 * one packet's payload, stack: registers and a stack, frames: an array of struct
 * frame, code: two texts and a line table). Ports are in host byte order; an
 * address is sixteen bytes, IPv4 in its mapped form ::ffff:a.b.c.d.
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
#define KIND_FRAMES 9
#define KIND_CODE 10
#define KIND_ESCAPE 11
#define KIND_ACCEPT 12 /* a peer connects to a listener */

#define FLAG_REFUSED 1
#define FLAG_CANARY 2
#define FLAG_FOREIGN 4
#define FLAG_INGRESS 8
#define FLAG_TRUNCATED 64
#define FLAG_OWNERLESS 128
#define FLAG_STACK_LOST 256
#define FLAG_FRAMES_LOST 512
#define FLAG_UNREAD 1024 /* of total_size bytes, none were read */

/* Who receives what a flow sends. */
#define RECEIVER_REMOTE 0  /* it leaves this machine */
#define RECEIVER_SCOPE 1   /* a socket of the scope's */
#define RECEIVER_OUTSIDE 2 /* another's on this machine */
#define RECEIVER_NOBODY 3  /* nobody on this machine */
#define RECEIVER_SHARED 4  /* a socket of the scope's, if none outside shares its port */
#define RECEIVER_ASK 5	   /* of this machine, but the probe cannot tell */

/* What the probes know of a packet to or from port 53. */
#define DNS_BEGIN 1	      /* TCP: the first of its stream */
#define DNS_URGENT 2	      /* TCP: the receiver may leave a byte out */
#define DNS_RAW 4	      /* from a raw socket: its headers may lie */
#define DNS_LOOPBACK 8	      /* by the loopback device */
#define DNS_SCOPE_RECEIVES 16 /* a socket of the scope is bound at the server's address */
#define DNS_SHARED 64	      /* the bytes may be changed after they were read */
#define DNS_LAYERED 128	      /* TCP: a protocol above it (MPTCP) decides what is sent when */
#define DNS_SCOPE_ANSWERS 32  /* no payload: the scope sent from that address and port 53 */

/* What a stack event holds, or why it holds no stack. */
#define STACK_COPIED 0
#define STACK_KNOWN 1 /* the same calls as those of a template */
#define STACK_KERNEL_THREAD 2
#define STACK_IO_WORKER 3
#define STACK_COMPAT 4 /* a 32-bit task */
#define STACK_UNREADABLE 5

/* How far a walk along Python frames came. */
#define FRAMES_WHOLE 0
#define FRAMES_NO_THREAD 1 /* the interpreter does not know the thread */
#define FRAMES_IDLE 2	   /* the thread runs no Python code */
#define FRAMES_UNREADABLE 3
#define FRAMES_CUT 4
#define FRAMES_ODD 5	 /* a frame holds no code object */
#define FRAMES_UNNOTED 6 /* of a creator: it was not seen */

/* LD_PRELOAD or LD_AUDIT in the environment of a new program. */
#define PRELOAD_NONE 0
#define PRELOAD_SET 1
#define PRELOAD_UNREAD 2 /* too many variables, or unreadable */

/* A ring for each class of events: what fills one takes no room from another. */
#define RING_BYTES 4194304	/* connections */
#define RING_LIFE_BYTES 2097152 /* processes, and attempts to leave the scope */
#define RING_DNS_BYTES 2097152
#define RING_CALLS_BYTES 4194304 /* stacks, frames and code */

#define COMM_SIZE 16
#define ADDRESS_SIZE 16
#define ADDRESS_WORDS 4
#define PATH_SIZE 256
#define PAYLOAD_SMALL 512
#define PAYLOAD_LARGE 4096
#define REGISTERS 34 /* of the architecture that has most; the rest are zero */
#define STACK_BYTES 16384
#define TEMPLATE_WORDS 24
#define MAX_FRAMES 1024
#define MAX_INTERPRETERS 64
#define TEST_SIZE 256
#define TEXT_SIZE 512 /* bytes of a file name, and of a function name */
#define LINES_SIZE 16384

/* Which of a code object's parts are not in its record. */
#define CODE_NO_FILE 1
#define CODE_NO_NAME 2
#define CODE_NO_LINES 4
#define CODE_CUT_FILE 8
#define CODE_CUT_NAME 16

/* How a frame says where in its code it is. */
#define INSTRUCTION_BYTES 0   /* an int: bytes */
#define INSTRUCTION_UNITS 1   /* an int: pairs of bytes */
#define INSTRUCTION_POINTER 2 /* an address */

#define ENVIRON_NONE 0
#define ENVIRON_HERE 1	 /* the variable is in the file */
#define ENVIRON_LINKED 2 /* the file has a pointer to it */

/* Slots of the per-CPU counters; a LOST_* slot above zero makes a run incomplete. */
#define COUNT_LOST_PROCESS 0
#define COUNT_LOST_FLOW 1
#define COUNT_LOST_DNS 2
#define COUNT_LOST_LINEAGE 3
#define COUNT_LOST_SOCKET 4
#define COUNT_LOST_PACKET 5
#define COUNT_MISSED_STACK 6
#define COUNT_MISSED_FRAMES 7
#define COUNT_MISSED_CODE 8
#define COUNT_LOST_UNREAD 9
#define COUNT_LOST_ESCAPE 10
#define COUNT_SLOTS 11

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
	u32 scope_level; /* of the scope's cgroup below the hierarchy's root */
	u64 scope_id;	 /* of the scope's cgroup; 0: its level is not known */
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
	u32 exec_id; /* how often it and its ancestors have run a program */
	char comm[COMM_SIZE];
};

struct exec_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u64 inode;   /* of the executable; of a script, its interpreter's */
	u32 device;  /* of its file system: major << 20 | minor */
	u32 mounts;  /* inode number of the process's mount namespace; 0: unknown */
	u32 users;   /* the same of its user namespace */
	u32 preload; /* PRELOAD_*: whether the loader was told to load more */
	u32 parent;
	u32 uid;
	u32 arguments_size;
	u32 payload_size;
	u32 exec_id;
	u32 spare;
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
	u16 receiver;
	u16 local_port; /* of the listener that accepts; else 0 */
	u32 exec_id;	/* which of its programs the process ran */
	u32 spare;
	u64 start_ns;
	u64 stack_ns;  /* ktime_ns of the stack event of the same tid; 0: none */
	u64 frames_ns; /* the same of its frames event */
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
	u32 mounts;	  /* as in exec_event, at the call; 0 for a known site */
	u32 users;
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
	u32 traits;
	u32 exec_id; /* as in flow_event, like those that follow */
	u64 start_ns;
	u64 stack_ns;
	u64 frames_ns;
	u8 address[ADDRESS_SIZE];
	char comm[COMM_SIZE];
};

/* What a process of the scope used to get past the hooks, if it worked. */
#define ESCAPE_SOCKET 1 /* a socket of a family without hooks */
#define ESCAPE_TUN 2	/* a TUN or TAP device */
#define ESCAPE_UNIX 3	/* a UNIX socket that a process outside the scope listens at */
#define ESCAPE_RING 4	/* one of these through io_uring */
#define UNIX_PATH_SIZE 108

struct escape_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u32 exec_id;
	u32 tid;
	u32 uid;
	u32 what;
	u32 family;
	u32 peer;  /* the process that listens there */
	u64 inode; /* of the socket file; 0: there is none */
	u32 device;
	u32 path_size;
	char comm[COMM_SIZE];
	char path[UNIX_PATH_SIZE];
	u32 spare;
};

/*
 * A build of CPython: where its file has what matters, and where its structures
 * have their fields. Addresses are those in the file; the rest are offsets in bytes.
 */
struct interpreter {
	u64 dynamic;   /* what the dynamic linker is told: _DYNAMIC */
	u64 runtime;   /* _PyRuntime */
	u64 code_type; /* PyCode_Type */
	u64 type_type; /* PyType_Type */
	u64 code_size; /* PyCode_Type.tp_basicsize */
	u64 environ;
	u32 environ_kind;
	u32 minor; /* of the version, 3.minor */
	u32 runtime_interpreters;
	u32 runtime_key; /* 0: the thread's state is not kept under a key */
	u32 interpreter_next;
	u32 interpreter_threads;
	u32 thread_next;
	u32 thread_id;
	u32 thread_frame;
	u32 thread_context;
	u32 frame_indirect; /* 1 + offset behind thread_frame; 0: no such step */
	u32 frame_previous;
	u32 frame_code;
	u32 frame_instruction;
	u32 frame_owner; /* 0: none */
	u32 frame_copy;	 /* the thread's own bytecode, by number; 0: none */
	u32 owner_shim;	 /* from here on, an owner's frame is not Python's */
	u32 instruction_kind;
	u32 code_file;
	u32 code_name;
	u32 code_first_line;
	u32 code_lines;
	u32 code_bytes;
	u32 code_version; /* 0: none */
	u32 code_copies;
	u32 object_type;
	u32 type_size; /* tp_basicsize in a type */
	u32 text_length;
	u32 text_state;
	u32 text_shift; /* to the kind's first bit */
	u32 text_ascii;
	u32 text_compact;
	u32 bytes_size;
	u32 bytes_data;
};

/* How many interpreters there are; the generation changes with each. */
struct census {
	u32 count;
	u32 generation;
};

struct frame {
	u64 code;
	u32 fingerprint; /* tells code objects apart that follow each other at an address */
	u32 instruction; /* offset in bytes, signed */
};

/*
 * The Python frames of a thread, innermost first: at a call, or (child set) as it
 * started a thread or process. They follow as struct frame.
 */
struct frames_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u32 tid;
	u32 status;
	u64 start_ns;  /* of the process */
	u64 thread_ns; /* when the thread began */
	u64 child_ns;  /* when child did; 0: there is none */
	u32 exec_id;
	u32 child;
	u32 count;
	u32 total;
	u32 level; /* 0: the thread's own; else: who created what it runs, so far out */
	u32 spare;
	char test[TEST_SIZE]; /* PYTEST_CURRENT_TEST; cut where it fills this */
};

/* A code object, before the first frame that runs it. Texts are as str keeps them. */
struct code_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u64 code;
	u32 exec_id;
	u32 fingerprint;
	u32 minor;
	u32 missing;
	u32 first_line;
	u32 file_size;
	u32 file_kind; /* bytes in a character; 0: ASCII */
	u32 name_size;
	u32 name_kind;
	u32 lines_size;
};

/* Which code objects have been told of. */
struct code_key {
	u64 start_ns;
	u64 code;
	u32 tgid;
	u32 exec_id;
	u32 fingerprint;
	u32 spare;
};

#endif
