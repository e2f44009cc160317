/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Finds the code that created the asynchronous task that runs now. A task runs in a Context
 * of its own (PEP 567), which is copied when the task is created. The frames at that copy are
 * kept in a map under the new Context's address; at a call, the thread's current Context
 * leads to them.
 *
 * A thread's first Context was not copied, but may be at the address of one that was. It is
 * known by not being entered.
 */
#ifndef EGRESSMON_CREATOR_H
#define EGRESSMON_CREATOR_H

#include "frames.bpf.h"

#define MAX_CREATORS 8192
#define MAX_LEVELS 4
#define OBJECT_TO_ENTERED 32 /* from ob_type: Include/internal/pycore_context.h */

struct context_key {
	u64 start_ns;
	u64 context;
	u32 tgid;
	u32 exec_id;
};

DEFINE_MAP(creators, LRU_HASH, struct context_key, struct creator, MAX_CREATORS, 0);

/* The Context that the thread has entered; 0: none. */
static __always_inline u64 current_context(const struct slot *slot)
{
	u64 context = user_word(slot->walk.state + slot->build.thread_context);
	u64 entered = context + slot->build.object_type + OBJECT_TO_ENTERED;

	return context && (user_word(entered) & 0xff) ? context : 0;
}

/* The Context at this address is gone. Returns whether the process is of the scope. */
static __always_inline bool forget_creator(u64 context)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	struct context_key key = {.context = context, .tgid = bpf_get_current_pid_tgid() >> 32};

	if (!context || !in_lineage(key.tgid))
		return false;
	key.start_ns = READ(READ(task, group_leader), start_boottime);
	key.exec_id = READ(task, self_exec_id);
	bpf_map_delete_elem(MAP(creators), &key);
	return true;
}

/* The running Python code has copied its Context to the address `context`. */
static __always_inline void remember_creator(u64 context)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	struct context_key key = {.context = context};
	struct creator *creator;
	struct slot *slot;

	if (!forget_creator(context))
		return;
	slot = take_slot();
	if (!slot)
		return;
	if (!begin_walk(slot, task, NULL, bpf_ktime_get_boot_ns(), CREATOR_FRAMES))
		goto out;
	creator = &slot->creator;
	creator->status = walk_frames(slot, task);
	creator->ktime_ns = slot->record.event.ktime_ns;
	creator->parent = current_context(slot);
	creator->count = slot->record.event.count;
	creator->total = slot->record.event.total;
	/* For the verifier one instruction; memcpy() would be one for each word. */
	bpf_probe_read_kernel(creator->frames, sizeof(creator->frames), slot->record.frames);
	key.start_ns = slot->record.event.start_ns;
	key.tgid = slot->record.event.tgid;
	key.exec_id = slot->record.event.exec_id;
	bpf_map_update_elem(MAP(creators), &key, creator, BPF_ANY);
out:
	leave_slot(slot);
}

/* Put `creator` into the slot's event; NULL: one whose frames were not recorded. */
static __always_inline void describe_creator(struct slot *slot, const struct creator *creator)
{
	struct frames_event *event = &slot->record.event;

	event->level++;
	event->status = creator ? creator->status : FRAMES_UNNOTED;
	event->count = creator ? creator->count : 0;
	event->total = creator ? creator->total : 0;
	if (creator)
		bpf_probe_read_kernel(slot->record.frames, sizeof(creator->frames),
				      creator->frames);
}

/*
 * After the frames of a call, which are in `slot`: emit those of the task's creator, of the
 * creator's creator and so on, up to one that was not recorded or has no creator.
 */
static __always_inline void emit_creators(struct slot *slot)
{
	const struct frames_event *event = &slot->record.event;
	struct context_key key = {
		.start_ns = event->start_ns, .tgid = event->tgid, .exec_id = event->exec_id};
	u64 newer = event->ktime_ns;

	key.context = current_context(slot);
	for (u32 i = 0; i < MAX_LEVELS; i++) {
		struct creator *creator;

		if (!key.context)
			return;
		creator = bpf_map_lookup_elem(MAP(creators), &key);
		if (creator && creator->ktime_ns > newer)
			creator = NULL;
		describe_creator(slot, creator);
		if (i == MAX_LEVELS - 1 && creator && creator->parent)
			slot->record.event.status = FRAMES_CUT;
		if (!emit_frames(slot))
			count(COUNT_MISSED_FRAMES, 1);
		if (!creator)
			return;
		newer = creator->ktime_ns;
		key.context = creator->parent;
	}
}

#endif
