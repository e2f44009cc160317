/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Working memory for the programs that read Python frames; reads of a process's memory. */
#ifndef EGRESSMON_SLOT_H
#define EGRESSMON_SLOT_H

#include "socket.bpf.h"

#define SLOTS 64
#define SLOT_TRIES 16
#define AUXILIARY_ROOM 64 /* a power of two: an index is masked */
#define FRAME_BYTES 128
#define CREATOR_FRAMES 32
#define CODE_BYTES 256

/* asyncio's Handle.__init__, and the thread that ran it the last time. */
struct handle {
	u64 code;  /* its code object; 0: not met yet */
	u64 print; /* of what that holds */
	u64 self;
	u64 state;
};

/* What is known of a process that runs CPython; times as in process_event. */
struct python {
	u64 start_ns;
	u64 base;	 /* where the file with the interpreter is loaded */
	u64 environ;	 /* address of the variable `environ` */
	u64 environment; /* its value at the last search for the test, */
	u64 variables;	 /* how many variables came before the test, or in all, */
	u64 last;	 /* and the last of them; 0: there was a test */
	u64 test_at;	 /* where in the array the test was; 0: nowhere */
	u64 window_ns;
	struct handle handle;
	u32 told; /* code objects that were emitted in the window */
	u32 exec_id;
	u32 interpreter; /* 1 + its index in the map; 0: no known build */
	u32 generation;
};

struct search {
	u64 words[AUXILIARY_ROOM];
	u64 headers;
	u64 header_count;
	u64 dynamic;
	u64 base;
	u64 link;
	u32 number;
	u32 count;
	u32 found; /* 1 + the build's index; 0: none */
	u32 unreadable;
};

struct walk {
	u64 state;	 /* the thread's state, or the one to look at next */
	u64 interpreter; /* the one to look at next; 0: none is left */
	u64 outer;	 /* state to look at next for frames of the thread's; 0: none */
	u64 self;
	u64 hit;
	u64 frame;
	u64 variable;
	u64 variables;
	u64 last;
	u64 digest; /* of the frames that are kept */
	u32 status;
	u32 limit;
	u32 several; /* whether there are several interpreters */
	u32 spare;
};

/* Where a Context comes from. */
struct origin {
	u64 creator;  /* the digest of the creator; 0: not noted */
	u32 callback; /* whether it was copied for a callback that such a one's task scheduled
		       */
	u32 spare;
};

struct creator {
	struct origin origin; /* of the Context in which the creator ran */
	u32 inside;	      /* whether it ran in one */
	u32 status;	      /* FRAMES_* */
	u32 count;
	u32 total;
	struct frame frames[CREATOR_FRAMES];
};

struct frames_record {
	struct frames_event event;
	struct frame frames[MAX_FRAMES];
};

struct code_record {
	struct code_event event;
	u8 content[2 * TEXT_SIZE + LINES_SIZE];
};

/*
 * Working memory for one run of a program. It is no per-CPU map, because cgroup programs can
 * be preempted by others on the same CPU. A loop's state is here, too: before Linux 6.7, the
 * verifier takes variables on the stack for constant that the body of bpf_loop() changes.
 */
struct slot {
	u32 busy;
	u32 number;
	struct python python;
	struct interpreter build;
	struct search search;
	struct walk walk;
	u8 frame[FRAME_BYTES];
	u8 code[CODE_BYTES];
	struct frames_record record;
	struct code_record code_record;
	struct creator creator;
};

DEFINE_MAP(slots, ARRAY, u32, struct slot, SLOTS, 0);

static __always_inline struct slot *take_slot(void)
{
	u32 first = bpf_get_smp_processor_id() * 4;

	for (u32 i = 0; i < SLOT_TRIES; i++) {
		u32 number = (first + i) % SLOTS;
		struct slot *slot = bpf_map_lookup_elem(MAP(slots), &number);

		if (!slot)
			return NULL;
		if (__sync_val_compare_and_swap(&slot->busy, 0, 1) == 0) {
			slot->number = number;
			return slot;
		}
	}
	return NULL;
}

static __always_inline void leave_slot(struct slot *slot)
{
	__sync_lock_test_and_set(&slot->busy, 0);
}

static __always_inline struct slot *slot_of(const u32 *number)
{
	u32 key = *number;

	return bpf_map_lookup_elem(MAP(slots), &key);
}

/* Read the process's memory: 64 bits here, 32 below; zero if it cannot be read. */
static __always_inline u64 user_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

static __always_inline u32 user_half(u64 address)
{
	u32 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

#endif
