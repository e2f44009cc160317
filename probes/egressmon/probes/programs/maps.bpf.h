/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The maps that all probes share, and how an event is submitted to its ring. */
#ifndef EGRESSMON_MAPS_H
#define EGRESSMON_MAPS_H

#include "kernel.bpf.h"

/*
 * Events of these kinds are only emitted into a ring that holds no more than this, in bytes:
 * the rest is for what matters more. Frames matter more than stacks.
 */
#define RING_FOR_FRAMES (RING_CALLS_BYTES / 4 * 3)
#define RING_FOR_STACKS (RING_CALLS_BYTES / 2)
/* That there is a process matters more than its arguments. */
#define RING_FOR_LONG_ARGUMENTS (RING_LIFE_BYTES / 4)
#define RING_FOR_ARGUMENTS (RING_LIFE_BYTES / 2)
#define RING_FOR_ESCAPES (RING_LIFE_BYTES / 4 * 3)
#define RING_WAKE_WINDOW (32 * 1024) /* larger than any event, so that none skips it */
#define MAX_PROCESSES 65536
#define MAX_PEERS 65536

/*
 * The reader merges the rings in order of the events' times. A time must be taken after
 * the event's room was reserved: docs/decisions/0014-a-ring-for-each-class.md.
 */
DEFINE_RING(events, RING_BYTES);
DEFINE_RING(life, RING_LIFE_BYTES);
DEFINE_RING(lookups, RING_DNS_BYTES);
DEFINE_RING(calls, RING_CALLS_BYTES);

DEFINE_MAP(counters, PERCPU_ARRAY, u32, u64, COUNT_SLOTS, 0);

/* How much the scope's sockets sent, in total. */
DEFINE_MAP(sent, PERCPU_ARRAY, u32, struct traffic, 1, 0);

DEFINE_MAP(settings, ARRAY, u32, struct settings, 1, 0);

/* The scope's cgroup, for bpf_current_task_under_cgroup(). */
DEFINE_CGROUPS(scope, 1);

/* A process of the scope; times as in process_event. */
struct member {
	u64 start_ns;
	u64 exec_id; /* of the last exec that was emitted */
};

/* By process id (tgid): the command and its descendants. */
DEFINE_MAP(lineage, HASH, u32, struct member, MAX_PROCESSES, BPF_F_NO_PREALLOC);

/*
 * A 32-bit key in a 64-bit variable (both architectures are little-endian). With a u32,
 * Linux 6.1's verifier would keep track of the other half of its stack slot, and follow
 * each of its values separately.
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
 * Waking the reader costs as much as the rest of a probe (0.6 us), so it polls. It is woken
 * only when a ring fills faster than that: once, by the event that passes the threshold.
 */
static __always_inline u64 wake_flags(void *ring, u64 size)
{
	u64 filled = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);

	if (filled >= size / 8 && filled < size / 8 + RING_WAKE_WINDOW)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Submit an event of the ring `events`; the functions below are for the other rings. */
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

/* When a new program last woke the reader. */
DEFINE_MAP(woken, ARRAY, u32, u64, 1, 0);

/*
 * Submit and wake the agent: it may have to read a new program before its first call. That
 * costs whoever executes it 10 us, so not again at once: for longer than WAKE_EVERY_MS
 * after it has read anything, the reader looks by itself.
 */
static __always_inline void submit_now(void *event)
{
	WIDE_KEY(first, 0);
	u64 *last = bpf_map_lookup_elem(MAP(woken), &first);
	u64 now = bpf_ktime_get_boot_ns();

	if (!last || now - *last < WAKE_EVERY_MS * 1000000) {
		submit_life(event);
		return;
	}
	*last = now;
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

/* Whether the ring holds no more than `limit` bytes. */
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
