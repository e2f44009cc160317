/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The wire format between the probes and the agent; this is its only definition.
 *
 * wire.py parses this file, so its grammar is small: u8 u16 u32 u64 char, fixed arrays,
 * numbers by #define. Every event begins with its time and kind and has no padding. It may
 * be followed by a payload (exec: arguments; environment: variables; dns: the payload of a
 * packet; stack: registers and a stack; frames: an array of struct frame; code: two texts and a
 * line table). Ports are in host byte order; an address is sixteen bytes, IPv4 as
 * ::ffff:a.b.c.d.
 *
 * Unless something else is said, ktime_ns and other times are in ns since boot, tgid is a
 * process id and tid a thread id, both as in the first pid namespace.
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
#define KIND_CGROUP 13 /* a cgroup is made or removed */
#define KIND_ENVIRONMENT 14

#define FLAG_REFUSED 1
#define FLAG_CANARY 2
#define FLAG_FOREIGN 4
#define FLAG_INGRESS 8
#define FLAG_OWNERLESS 128
#define FLAG_STACK_LOST 256
#define FLAG_FRAMES_LOST 512
#define FLAG_UNSENT 2048  /* no packet of it had left as it was given up */
#define FLAG_UNASKED 4096 /* the kernel sent it by itself */
#define FLAG_UNREAD 1024  /* total_size bytes were not read, because of the quota */

/* Who receives the packets of a flow. */
#define RECEIVER_REMOTE 0  /* they leave this machine */
#define RECEIVER_SCOPE 1   /* a socket of the scope */
#define RECEIVER_OUTSIDE 2 /* another socket on this machine */
#define RECEIVER_NOBODY 3  /* they stay on this machine, and no socket receives them */
#define RECEIVER_SHARED 4  /* a socket of the scope, unless one outside shares its port */
#define RECEIVER_ASK 5	   /* a socket on this machine; the agent must find out which */
#define RECEIVER_UNKNOWN 6 /* on this machine, and nobody can tell */

/* What the probes know of a packet to or from port 53. */
#define DNS_BEGIN 1	      /* TCP: the first packet of its stream */
#define DNS_URGENT 2	      /* TCP: urgent data, of which a receiver may skip a byte */
#define DNS_RAW 4	      /* from a raw socket, so its headers may be forged */
#define DNS_LOOPBACK 8	      /* on the loopback device */
#define DNS_SCOPE_RECEIVES 16 /* a socket of the scope is bound at the server's address */
#define DNS_SHARED 64	      /* the sender can still change the bytes that were read */
#define DNS_LAYERED 128	      /* TCP: a protocol above it (MPTCP) decides what is sent */
#define DNS_SCOPE_ANSWERS 32  /* no payload: the scope sent from that address and port 53 */
#define DNS_TRANSLATED 256    /* sent elsewhere (NAT); address is the peer that was named */

/* What a stack event holds, or why it holds no stack. */
#define STACK_COPIED 0
#define STACK_KNOWN 1 /* a known call site: the number of its template instead */
#define STACK_KERNEL_THREAD 2
#define STACK_IO_WORKER 3
#define STACK_COMPAT 4 /* a 32-bit task */
#define STACK_UNREADABLE 5

/* How a walk along Python frames ended. */
#define FRAMES_WHOLE 0
#define FRAMES_NO_THREAD 1 /* the interpreter has no state for the thread */
#define FRAMES_IDLE 2	   /* the thread runs no Python code */
#define FRAMES_UNREADABLE 3
#define FRAMES_CUT 4	    /* there are more frames than are read */
#define FRAMES_ODD 5	    /* a frame has no code object where one is expected */
#define FRAMES_UNNOTED 6    /* of a creator: its frames were not recorded */
#define FRAMES_UNSURE 7	    /* which of several interpreters runs is not known */
#define FRAMES_NO_POINTER 8 /* arm64: which of several threads runs is not known */

/* Whether LD_PRELOAD or LD_AUDIT is in the environment of a new program. */
#define PRELOAD_NONE 0
#define PRELOAD_SET 1
#define PRELOAD_UNREAD 2 /* too many variables, or unreadable */

/* Sizes of the rings. Each class of events has one, so that none takes another's room. */
#define RING_BYTES 4194304	/* connections */
#define RING_LIFE_BYTES 2097152 /* processes, and attempts to leave the scope */
#define RING_DNS_BYTES 2097152
#define RING_CALLS_BYTES 4194304 /* stacks, frames and code */
#define WAKE_EVERY_MS 3		 /* the most often that a new program wakes the reader */

#define COMM_SIZE 16
#define ADDRESS_SIZE 16
#define ADDRESS_WORDS 4
#define PATH_SIZE 256
#define CGROUP_PATH_SIZE 512
#define PAYLOAD_SMALL 512
#define PAYLOAD_LARGE 4096
#define ENVIRONMENT_SMALL 8192
#define ENVIRONMENT_LARGE 24576
#define REGISTERS 34 /* as the architecture with the most; unused ones are zero */
#define STACK_BYTES 16384
#define TEMPLATE_WORDS 24
#define MAX_FRAMES 1024
#define MAX_INTERPRETERS 64
#define TEST_SIZE 256
#define TEXT_SIZE 512 /* bytes of a file name, and of a function name */
#define LINES_SIZE 16384

/* Which parts of a code object are missing from its event, or cut. */
#define CODE_NO_FILE 1
#define CODE_NO_NAME 2
#define CODE_NO_LINES 4
#define CODE_CUT_FILE 8
#define CODE_CUT_NAME 16

/* How a frame of CPython stores its position in its code. */
#define INSTRUCTION_BYTES 0   /* an index of bytes */
#define INSTRUCTION_UNITS 1   /* an index of two-byte units */
#define INSTRUCTION_POINTER 2 /* an address */

/* Where the variable `environ` is, for a build of CPython. */
#define ENVIRON_NONE 0
#define ENVIRON_HERE 1	 /* the variable itself is in the file */
#define ENVIRON_LINKED 2 /* the file has the variable's address */

/* Indices of the per-CPU counters; a LOST_* counter above zero makes a run incomplete. */
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
#define COUNT_MISSED_CGROUP 11
#define COUNT_SLOTS 12

struct traffic {
	u64 packets;
	u64 bytes;
};

/* The agent's settings for the probes: the only element of the map `settings`. */
struct settings {
	u32 canary_armed;
	u32 canary_port;
	u32 canary_inet[ADDRESS_WORDS]; /* network byte order */
	u32 canary_inet6[ADDRESS_WORDS];
	u32 stack_bytes;   /* how much of a caller's stack to copy; 0: none */
	u32 scope_level;   /* how far the scope's cgroup is below the root cgroup */
	u64 scope_id;	   /* cgroup id of the scope */
	u32 sees_arrivals; /* whether all that arrives on this machine passes a probe */
	u32 own_level;	   /* of the cgroup below the scope from which canaries are sent, */
	u64 own_id;	   /* and its id; 0: they are sent from the scope's own */
	u32 is_part;	   /* whether the agent records but some of the scope */
	u32 unused_settings;
};

/*
 * A call site. Two calls from it whose stacks both have the words of its template have the
 * same callers; see struct call_site in stack.bpf.h.
 */
struct template_key {
	u64 address_space;
	u64 instruction;
	u64 stack;
};

struct template_word {
	u64 offset; /* in bytes from the stack pointer */
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
	u32 exec_id;	   /* the kernel's self_exec_id: another number after each exec */
	u32 shares_memory; /* KIND_FORK: whether parent and child have one (vfork, CLONE_VM) */
	u32 pid_inside;	   /* the process's id in its own pid namespace; KIND_EXIT: 0 */
	u64 cgroup;	   /* its cgroup's id in the v2 hierarchy; KIND_EXIT: 0 */
	char comm[COMM_SIZE];
};

struct exec_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u64 inode;   /* of the executable, or of a script's interpreter */
	u32 device;  /* of its file system: major << 20 | minor */
	u32 mounts;  /* the process's mount namespace, as an inode number; 0: unknown */
	u32 users;   /* its user namespace, likewise */
	u32 preload; /* PRELOAD_* */
	u32 parent;
	u32 uid;
	u32 arguments_size;
	u32 payload_size;
	u32 exec_id;
	u32 place;	/* of the executable: differs for each name and mount */
	u32 root;	/* of the process's root folder, likewise */
	u32 pid_inside; /* this and the cgroup are as in process_event */
	u64 cgroup;
	char comm[COMM_SIZE];
	char path[PATH_SIZE];
};

/*
 * The environment with which a process executes a program, if a CI system's agent or a
 * container engine is its parent: payload_size bytes follow, as execve(2) was given them.
 */
struct environment_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u32 parent;
	u32 total_size;
	u32 payload_size;
	u32 spare;
	char parent_comm[COMM_SIZE];
};

struct flow_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 cookie;
	u64 netns;
	u64 cgroup; /* the process's, as it made or last aimed the socket; 0: unknown */
	u32 tid;
	u32 uid;
	u32 flags;
	u32 socket_type;
	u16 protocol;
	u16 port;
	u16 receiver;
	u16 local_port; /* KIND_ACCEPT: the listener's; else 0 */
	u32 exec_id;	/* as in process_event: which of its programs the process ran */
	u16 sent_port;	/* where this machine sends it instead (NAT); 0: nowhere else */
	u16 spare;
	u64 start_ns;
	u64 stack_ns;  /* ktime_ns of the stack event of the same thread; 0: none */
	u64 frames_ns; /* ktime_ns of its frames event; 0: none */
	u8 address[ADDRESS_SIZE];
	u8 sent_to[ADDRESS_SIZE]; /* with sent_port */
	char comm[COMM_SIZE];
};

/*
 * The stack of a thread as it gave a socket a peer. With STACK_COPIED, struct registers and
 * payload_size bytes from the top of the stack follow.
 */
struct stack_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u32 tid;
	u32 status;
	u64 address_space;
	u64 template;
	u32 payload_size; /* of the stack, without the registers */
	u32 mounts;	  /* as in exec_event, at the call; 0 for STACK_KNOWN */
	u32 users;
	u32 missing; /* pages that are zeros, as they could not be read: bit n, the n-th */
};

/* The caller's registers, in the order of the kernel's struct (user_)pt_regs. */
struct registers {
	u64 words[REGISTERS];
};

struct dns_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 cookie;
	u64 netns;
	u64 cgroup; /* as in flow_event */
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
	u32 exec_id; /* this and the fields below are as in flow_event */
	u64 start_ns;
	u64 stack_ns;
	u64 frames_ns;
	u8 address[ADDRESS_SIZE];
	char comm[COMM_SIZE];
};

/* By what a process of the scope evaded the hooks; emitted only if the call succeeded. */
#define ESCAPE_SOCKET 1 /* a socket of a family that has no hooks */
#define ESCAPE_TUN 2	/* a TUN or TAP device */
#define ESCAPE_UNIX 3	/* a UNIX socket on which a process outside the scope listens */
#define ESCAPE_RING 4	/* one of the above, through io_uring */
#define UNIX_PATH_SIZE 108

struct escape_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 start_ns;
	u64 cgroup; /* of the process */
	u32 exec_id;
	u32 tid;
	u32 uid;
	u32 what;
	u32 family;
	u32 peer;  /* the process that listens there */
	u64 inode; /* of the socket's file; 0: it has none */
	u32 device;
	u32 path_size;
	char comm[COMM_SIZE];
	char path[UNIX_PATH_SIZE];
	u32 spare;
};

/* A cgroup of the v2 hierarchy is made, by the process tgid, or removed. */
struct cgroup_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u64 cgroup; /* its id: the inode number of its folder */
	u32 is_made;
	u32 uid;       /* of that process */
	u32 path_size; /* without the zero at its end */
	u32 spare;
	char path[CGROUP_PATH_SIZE]; /* from the hierarchy's root */
};

/*
 * A build of CPython: addresses of variables in its file (relative to the base at which it
 * is loaded), and offsets, in bytes, of fields in its structures.
 */
struct interpreter {
	u64 dynamic;   /* _DYNAMIC: the dynamic section */
	u64 runtime;   /* _PyRuntime */
	u64 code_type; /* PyCode_Type */
	u64 type_type; /* PyType_Type */
	u64 code_size; /* PyCode_Type.tp_basicsize */
	u64 environ;
	u32 environ_kind;
	u32 minor; /* of the version, 3.minor */
	u32 runtime_interpreters;
	u32 runtime_key; /* of the key of the thread's state; 0: there is none */
	u32 interpreter_next;
	u32 interpreter_threads;
	u32 thread_next;
	u32 thread_id;
	u32 thread_frame;
	u32 thread_context;
	/* 1 + where a struct that thread_frame points to has the frame; 0: no such struct */
	u32 frame_indirect;
	u32 frame_previous;
	u32 frame_code;
	u32 frame_instruction;
	u32 frame_owner; /* 0: none */
	u32 frame_copy;	 /* index of the thread's own copy of the bytecode; 0: none */
	u32 owner_shim;	 /* frames whose owner is this or above are not Python's */
	u32 instruction_kind;
	u32 code_file;
	u32 code_name;
	u32 code_first_line;
	u32 code_lines;
	u32 code_bytes;
	u32 code_version; /* 0: none */
	u32 code_copies;
	u32 object_type;
	u32 type_size; /* tp_basicsize */
	u32 text_length;
	u32 text_state;
	u32 text_shift; /* of the kind's bits in text_state */
	u32 text_ascii;
	u32 text_compact;
	u32 bytes_size;
	u32 bytes_data;
};

/* How many builds of CPython are registered; a new generation: search again. */
struct census {
	u32 count;
	u32 generation;
};

struct frame {
	u64 code;
	u32 fingerprint; /* differs between code objects that have an address in turn */
	u32 instruction; /* offset in bytes, signed */
};

/*
 * The Python frames of a thread at a call or, if child is set, as it started that thread or
 * process. `count` times struct frame follow, the innermost first.
 */
struct frames_event {
	u64 ktime_ns;
	u32 kind;
	u32 tgid;
	u32 tid;
	u32 status;
	u64 start_ns;  /* of the process */
	u64 thread_ns; /* when the thread began */
	u64 child_ns;  /* when the child began; 0: there is none */
	u32 exec_id;
	u32 child;
	u32 count;
	u32 total;
	u32 level;    /* 0: the thread's own frames; n: those of the n-th creator outward */
	u32 callback; /* with a level: the creator scheduled a callback, in which that was */
	char test[TEST_SIZE]; /* PYTEST_CURRENT_TEST; cut if it fills this */
};

/* A code object, emitted before the first frames event that has it. Texts are str's bytes. */
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
	u32 file_kind; /* bytes of a character; 0: ASCII */
	u32 name_size;
	u32 name_kind;
	u32 lines_size;
};

/* The key of the map of code objects that were emitted. */
struct code_key {
	u64 start_ns;
	u64 code;
	u32 tgid;
	u32 exec_id;
	u32 fingerprint;
	u32 spare;
};

#endif
