/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Finds the code that created the asynchronous task that runs now. A task runs in a Context
 * of its own (PEP 567), which is copied when the task is created. The frames at that copy are
 * kept, once for all tasks that were created alike, and the new Context's address refers to
 * them; at a call, the thread's current Context leads to them.
 *
 * asyncio copies a Context for each callback as well, which is far more often: if the task
 * that schedules it has a known creator, the callback's Context refers to that.
 *
 * A thread's first Context was not copied, but may be at the address of one that was. It is
 * known by not being entered.
 */
#ifndef EGRESSMON_CREATOR_H
#define EGRESSMON_CREATOR_H

#include "callback.bpf.h"
#include "task.bpf.h"

#define MAX_CONTEXTS 32768
#define MAX_CREATORS 4096
#define MAX_LEVELS 4
#define OBJECT_TO_ENTERED 32 /* from ob_type: Include/internal/pycore_context.h */

struct note_key {
	u64 start_ns;
	u64 what; /* a Context's address, or the digest of a creator */
	u32 tgid;
	u32 exec_id;
};

DEFINE_MAP(contexts, LRU_HASH, struct note_key, struct origin, MAX_CONTEXTS, 0);
DEFINE_MAP(creators, LRU_HASH, struct note_key, struct creator, MAX_CREATORS, 0);

static __always_inline bool is_entered(const struct interpreter *build, u64 context)
{
	u64 entered = context + build->object_type + OBJECT_TO_ENTERED;

	return context && (user_word(entered) & 0xff);
}

/* The Context that the thread has entered; 0: none. */
static __always_inline u64 current_context(const struct slot *slot)
{
	u64 context = user_word(slot->walk.state + slot->build.thread_context);

	return is_entered(&slot->build, context) ? context : 0;
}

/* The key of a Context of the running process. */
static __always_inline struct note_key context_key(u64 context)
{
	kernel_task *task = current_task();
	struct note_key key = {
		.start_ns = FIELD(FIELD(task, group_leader), start_boottime),
		.what = context,
		.tgid = FIELD(task, tgid),
		.exec_id = FIELD(task, self_exec_id),
	};

	return key;
}

/* In place where it can be: addresses are soon used again. */
static __always_inline void set_origin(const struct note_key *key, const struct origin *origin)
{
	struct origin *known = bpf_map_lookup_elem(MAP(contexts), key);

	if (known)
		*known = *origin;
	else if (origin->creator)
		bpf_map_update_elem(MAP(contexts), key, origin, BPF_ANY);
}

/* The Context at this address was not copied from that of the running code. */
static __always_inline void forget_origin(u64 context)
{
	struct note_key key = context_key(context);
	struct origin unknown = {};

	if (context && in_lineage(key.tgid))
		set_origin(&key, &unknown);
}

/* Keep the frames of the running code, which find_frames() found, and return their digest. */
static __always_inline u64 note_creator(struct slot *slot, struct note_key *key, u32 found)
{
	struct creator *creator = &slot->creator;
	u64 digest;

	creator->status = walk_frames(slot, found);
	creator->count = slot->record.event.count;
	creator->total = slot->record.event.total;
	digest = mix(slot->walk.digest, creator->origin.creator);
	digest = mix(digest, (u64)creator->origin.callback << 32 | creator->inside);
	digest = mix(digest, (u64)creator->status << 32 | creator->total) | 1;
	key->what = digest;
	if (bpf_map_lookup_elem(MAP(creators), key))
		return digest;
	/* For the verifier one instruction; memcpy() would be one for each word. */
	bpf_probe_read_kernel(creator->frames, sizeof(creator->frames), slot->record.frames);
	bpf_map_update_elem(MAP(creators), key, creator, BPF_ANY);
	return digest;
}

/* What the running code's copy of its Context comes from. */
static __always_inline void find_origin(struct slot *slot, kernel_task *task,
					struct python *python, struct note_key key,
					struct origin *origin)
{
	u32 found = find_frames(slot, task);
	const struct origin *outer = NULL;

	key.what = current_context(slot);
	slot->creator.inside = !!key.what;
	__builtin_memset(&slot->creator.origin, 0, sizeof(slot->creator.origin));
	if (key.what)
		outer = bpf_map_lookup_elem(MAP(contexts), &key);
	if (outer)
		slot->creator.origin = *outer;
	if (slot->creator.origin.creator && is_for_callback(slot, python)) {
		origin->creator = slot->creator.origin.creator;
		origin->callback = 1;
		return;
	}
	origin->creator = note_creator(slot, &key, found);
}

/* The same, if it is for a callback, as it was in this thread before; false: who knows. */
static __always_inline bool find_quickly(struct slot *slot, struct note_key key,
					 struct origin *origin)
{
	const struct python *python = bpf_map_lookup_elem(MAP(pythons), &key.tgid);
	const struct interpreter *build;
	const struct origin *outer;
	u32 number;

	if (!python || python->start_ns != key.start_ns || python->exec_id != key.exec_id)
		return false;
	if (python->handle.self != FIELD(current_task(), THREAD_POINTER_FIELD))
		return false;
	number = python->interpreter - 1;
	build = bpf_map_lookup_elem(MAP(interpreters), &number);
	if (!build)
		return false;
	key.what = quick_callback(slot, &python->handle, build);
	outer = key.what ? bpf_map_lookup_elem(MAP(contexts), &key) : NULL;
	if (!outer || !outer->creator || !is_entered(build, key.what))
		return false;
	origin->creator = outer->creator;
	origin->callback = 1;
	return true;
}

/* Returns false if the process is not of the scope. */
static __always_inline bool find_slowly(struct slot *slot, struct note_key key,
					struct origin *origin)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	u64 now = bpf_ktime_get_boot_ns();
	struct python *python;

	if (!in_lineage(key.tgid))
		return false;
	python = begin_walk(slot, task, NULL, now, CREATOR_FRAMES);
	if (python)
		find_origin(slot, task, python, key, origin);
	return true;
}

/* The running Python code has copied its Context to the address `context`. */
static __always_inline void remember_creator(u64 context)
{
	struct note_key key = context_key(context);
	struct slot *slot = context ? take_slot() : NULL;
	struct origin origin = {};
	bool is_ours = true;

	if (slot) {
		is_ours = find_quickly(slot, key, &origin) || find_slowly(slot, key, &origin);
		leave_slot(slot);
	}
	if (is_ours)
		set_origin(&key, &origin);
}

/* Put `creator` into the slot's event; NULL: one whose frames were not recorded. */
static __always_inline void describe_creator(struct slot *slot, const struct creator *creator,
					     u32 callback)
{
	struct frames_event *event = &slot->record.event;

	event->level++;
	event->callback = callback;
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
	struct note_key key = {
		.start_ns = event->start_ns, .tgid = event->tgid, .exec_id = event->exec_id};
	const struct origin *known;
	struct origin origin = {};

	key.what = current_context(slot);
	if (!key.what)
		return;
	known = bpf_map_lookup_elem(MAP(contexts), &key);
	if (known)
		origin = *known;
	for (u32 i = 0; i < MAX_LEVELS; i++) {
		struct creator *creator;

		key.what = origin.creator;
		creator = key.what ? bpf_map_lookup_elem(MAP(creators), &key) : NULL;
		describe_creator(slot, creator, origin.callback);
		if (i == MAX_LEVELS - 1 && creator && creator->inside)
			slot->record.event.status = FRAMES_CUT;
		if (!emit_frames(slot))
			count(COUNT_MISSED_FRAMES, 1);
		if (!creator || !creator->inside)
			return;
		origin = creator->origin;
	}
}

#endif
