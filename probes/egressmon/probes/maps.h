/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The maps that the probes share, and how an event gets into the ring. */
#ifndef EGRESSMON_MAPS_H
#define EGRESSMON_MAPS_H

#include "kernel.h"
#include "event.h"

#define RING_BYTES (4 * 1024 * 1024)
#define RING_WAKE_BYTES (RING_BYTES / 8)
#define RING_WAKE_WINDOW (16 * 1024) /* more than any event: it cannot be stepped over */
#define MAX_PROCESSES 65536
#define MAX_LISTENERS 16384
#define MAX_PEERS 65536

/* One ring for all kinds of events: their order survives. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNT_SLOTS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

/* What the scope's sockets sent in all. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct traffic);
} sent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* The scope's cgroup, for bpf_current_task_under_cgroup(). */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} scope SEC(".maps");

/* Process ids (tgid) of the scope: the command and its descendants. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} lineage SEC(".maps");

static __always_inline void count(u32 slot, u64 amount)
{
	u64 *value = bpf_map_lookup_elem(&counters, &slot);

	if (value)
		*value += amount;
}

/*
 * Waking the reader costs as much as the rest of a probe (0.6 us), so it polls, and
 * is woken once when the ring fills faster than it polls: as the fill passes the
 * threshold, not by every event above it.
 */
static __always_inline u64 wake_flags(void)
{
	u64 filled = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	if (filled >= RING_WAKE_BYTES && filled < RING_WAKE_BYTES + RING_WAKE_WINDOW)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void submit(void *event)
{
	bpf_ringbuf_submit(event, wake_flags());
}

static __always_inline bool in_lineage(u32 tgid)
{
	return bpf_map_lookup_elem(&lineage, &tgid) != NULL;
}

static __always_inline void join_lineage(u32 tgid)
{
	u32 present = 1;

	if (bpf_map_update_elem(&lineage, &tgid, &present, BPF_ANY))
		count(COUNT_LOST_LINEAGE, 1);
}

#endif
