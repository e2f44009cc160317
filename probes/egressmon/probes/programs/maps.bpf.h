/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The maps that the probes share, and how an event gets into the ring. */
#ifndef EGRESSMON_MAPS_H
#define EGRESSMON_MAPS_H

#include "kernel.bpf.h"

/* Frames say more than stacks. */
#define RING_FOR_FRAMES (RING_CALLS_BYTES / 4 * 3)
#define RING_FOR_STACKS (RING_CALLS_BYTES / 2)
/* That a process is there matters more than its arguments. */
#define RING_FOR_LONG_ARGUMENTS (RING_LIFE_BYTES / 4)
#define RING_FOR_ARGUMENTS (RING_LIFE_BYTES / 2)
#define RING_FOR_ESCAPES (RING_LIFE_BYTES / 4 * 3)
#define RING_WAKE_WINDOW (32 * 1024) /* more than any event: it cannot be stepped over */
#define MAX_PROCESSES 65536
#define MAX_PEERS 65536

/*
 * The reader puts the rings' events in order again by their time, which is taken once
 * there is room for the event: docs/decisions/0014-a-ring-for-each-class.md.
 */
DEFINE_RING(events, RING_BYTES);
DEFINE_RING(life, RING_LIFE_BYTES);
DEFINE_RING(lookups, RING_DNS_BYTES);
DEFINE_RING(calls, RING_CALLS_BYTES);

DEFINE_MAP(counters, PERCPU_ARRAY, u32, u64, COUNT_SLOTS, 0);

/* What the scope's sockets sent in all. */
DEFINE_MAP(sent, PERCPU_ARRAY, u32, struct traffic, 1, 0);

DEFINE_MAP(settings, ARRAY, u32, struct settings, 1, 0);

/* The scope's cgroup, for bpf_current_task_under_cgroup(). */
DEFINE_CGROUPS(scope, 1);

/* A process of the scope; times as in process_event. */
struct member {
	u64 start_ns;
	u64 exec_id; /* of the last exec that was told of */
};

/* By process id (tgid): the command and its descendants. */
DEFINE_MAP(lineage, HASH, u32, struct member, MAX_PROCESSES, BPF_F_NO_PREALLOC);

/*
 * A key of 32 bits, written as 64: Linux 6.1's verifier takes the other half of the word
 * for in use, with what was in it on each way here. (Both machines are little-endian.)
 */
#define WIDE_KEY(name, value) u64 name = (value)

static __always_inline struct settings *settings_set(void)
{
	WIDE_KEY(first, 0);

	return bpf_map_lookup_elem(MAP(settings), &first);
}

static __always_inline void count(u32 slot, u64 amount)
{
	WIDE_KEY(key, slot);
	u64 *value = bpf_map_lookup_elem(MAP(counters), &key);

	if (value)
		*value += amount;
}

/*
 * Waking the reader costs as much as the rest of a probe (0.6 us), so it polls, and
 * is woken once when the ring fills faster than it polls: as the fill passes the
 * threshold, not by every event above it.
 */
static __always_inline u64 wake_flags(void *ring, u64 size)
{
	u64 filled = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);

	if (filled >= size / 8 && filled < size / 8 + RING_WAKE_WINDOW)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* An event of the ring `events`. */
static __always_inline void submit(void *event)
{
	bpf_ringbuf_submit(event, wake_flags(MAP(events), RING_BYTES));
}

static __always_inline void submit_life(void *event)
{
	bpf_ringbuf_submit(event, wake_flags(MAP(life), RING_LIFE_BYTES));
}

static __always_inline void submit_lookup(void *event)
{
	bpf_ringbuf_submit(event, wake_flags(MAP(lookups), RING_DNS_BYTES));
}

static __always_inline void submit_call(void *event)
{
	bpf_ringbuf_submit(event, wake_flags(MAP(calls), RING_CALLS_BYTES));
}

/* Where the agent should look soon: a new program may need to be read before it calls. */
static __always_inline void submit_now(void *event)
{
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

/* Whether the ring holds no more than limit. */
static __always_inline bool has_room(void *ring, u64 limit)
{
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) <= limit;
}

static __always_inline bool in_lineage(u32 tgid)
{
	return bpf_map_lookup_elem(MAP(lineage), &tgid) != NULL;
}

static __always_inline void join_lineage(u32 tgid, kernel_task *task)
{
	struct member member = {
		.start_ns = READ(READ(task, group_leader), start_boottime),
		.exec_id = READ(task, self_exec_id),
	};

	if (bpf_map_update_elem(MAP(lineage), &tgid, &member, BPF_ANY))
		count(COUNT_LOST_LINEAGE, 1);
}

#endif
