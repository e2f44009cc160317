/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Walks the Python frames of the current thread, in its own memory, at its call. The
 * thread's state is the one whose thread_id is pthread_self(). It is not the interpreter's
 * "current thread state": that is cleared when the GIL is released, before the call.
 */
#ifndef EGRESSMON_FRAMES_H
#define EGRESSMON_FRAMES_H

#include "code.bpf.h"

#define MAX_WALK 1536	      /* frames walked, including those that are not Python's */
#define MAX_THREADS 4096      /* thread states looked at */
#define MAX_STARTER_FRAMES 64 /* kept at the start of a thread or process */
#define MAX_GLIBC_KEYS 32     /* keys whose values are in struct pthread itself */
#define MINOR_TAGGED 14	      /* since 3.14, a frame's code pointer has tags in its last bits */
#define MINOR_OLD_FRAMES 10   /* up to 3.10, frames are objects, and larger */
#define MINOR_KEYED 12	      /* since 3.12, the key is for the interpreter that runs */

static __always_inline u64 frame_word(const struct slot *slot, u32 offset)
{
	offset &= FRAME_BYTES - 1;
	return offset > FRAME_BYTES - 8 ? 0 : *(const u64 *)(slot->frame + offset);
}

/* Reads are tried twice, as a page can be away for a moment. */
static __always_inline bool read_frame(struct slot *slot, u64 address)
{
	if (slot->build.minor > MINOR_OLD_FRAMES)
		return !bpf_probe_read_user(slot->frame, 88, (void *)address) ||
		       !bpf_probe_read_user(slot->frame, 88, (void *)address);
	return !bpf_probe_read_user(slot->frame, 112, (void *)address) ||
	       !bpf_probe_read_user(slot->frame, 112, (void *)address);
}

static __always_inline bool read_code(struct slot *slot, u64 address)
{
	return !bpf_probe_read_user(slot->code, 160, (void *)address) ||
	       !bpf_probe_read_user(slot->code, 160, (void *)address);
}

/* The frame's position in its code, as an offset in bytes. */
static __always_inline u32 instruction_of(const struct slot *slot, u64 code)
{
	const struct interpreter *build = &slot->build;
	u64 word = frame_word(slot, build->frame_instruction);
	u64 bytes = code + build->code_bytes;

	if (build->instruction_kind == INSTRUCTION_BYTES)
		return word;
	if (build->instruction_kind == INSTRUCTION_UNITS)
		return (u32)word * 2;
	if (build->frame_copy) {
		u32 copy = frame_word(slot, build->frame_copy);
		u64 copies = copy ? user_word(code + build->code_copies) : 0;
		u64 own = copies ? user_word(copies + 8 + 8 * (u64)copy) : 0;

		if (own)
			bytes = own;
	}
	return word - bytes;
}

static __always_inline bool is_shim(const struct slot *slot)
{
	u32 owner = slot->build.frame_owner & (FRAME_BYTES - 1);

	return owner && slot->frame[owner] >= slot->build.owner_shim;
}

static __always_inline bool is_own_state(const struct slot *slot, u64 state)
{
	u64 self = user_word(state + slot->build.thread_id);

	return self && slot->walk.self - self <= THREAD_SELF_WINDOW;
}

static __always_inline u64 top_frame(const struct slot *slot, u64 state)
{
	u64 frame = user_word(state + slot->build.thread_frame);

	if (frame && slot->build.frame_indirect)
		frame = user_word(frame + slot->build.frame_indirect - 1);
	return frame;
}

/*
 * One step to the frames of another interpreter that called this one, in the same thread.
 * Interpreters are listed from the newest to the oldest, and call newer ones. Returns 1 at
 * the end.
 */
static __always_inline long look_outward(struct slot *slot)
{
	u64 state = slot->walk.outer;

	if (state) {
		slot->walk.outer = user_word(state + slot->build.thread_next);
		if (state != slot->walk.state && is_own_state(slot, state))
			slot->walk.frame = top_frame(slot, state);
		return 0;
	}
	if (!slot->walk.interpreter)
		return 1;
	slot->walk.outer = user_word(slot->walk.interpreter + slot->build.interpreter_threads);
	slot->walk.interpreter =
		user_word(slot->walk.interpreter + slot->build.interpreter_next);
	return 0;
}

/* The code object of the frame that was read. */
static __always_inline u64 frame_code(const struct slot *slot)
{
	u64 code = frame_word(slot, slot->build.frame_code);

	return slot->build.minor >= MINOR_TAGGED ? code & ~3ULL : code;
}

/* Whether what was read as a code object is one. */
static __always_inline bool holds_code(const struct slot *slot)
{
	u64 type = code_word(slot, slot->build.object_type);

	return type == slot->python.base + slot->build.code_type;
}

static long walk_frame(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	struct frame *target;
	u32 print, at;
	u64 code;

	if (!slot)
		return 1;
	if (!slot->walk.frame)
		return look_outward(slot);
	if (!read_frame(slot, slot->walk.frame)) {
		slot->walk.status = FRAMES_UNREADABLE;
		return 1;
	}
	slot->walk.frame = frame_word(slot, slot->build.frame_previous);
	if (is_shim(slot))
		return 0;
	at = slot->record.event.total++;
	if (at >= slot->walk.limit || at >= MAX_FRAMES) {
		slot->walk.status = FRAMES_CUT;
		return slot->walk.limit < MAX_FRAMES;
	}
	code = frame_code(slot);
	if (!read_code(slot, code)) {
		slot->walk.status = FRAMES_UNREADABLE;
		return 1;
	}
	if (!holds_code(slot)) {
		slot->walk.status = FRAMES_ODD;
		return 1;
	}
	print = fingerprint(slot);
	target = &slot->record.frames[at & (MAX_FRAMES - 1)];
	target->code = code;
	target->fingerprint = print;
	target->instruction = instruction_of(slot, code);
	slot->walk.digest = mix(slot->walk.digest, code);
	slot->walk.digest = mix(slot->walk.digest, (u64)print << 32 | target->instruction);
	slot->record.event.count = at + 1;
	emit_new_code(slot, code, print);
	return 0;
}

/*
 * Look at the next thread state, for bpf_loop(). A thread may have a state in each of several
 * subinterpreters: the one that runs a frame is taken.
 */
static long try_state(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	u64 state;

	if (!slot)
		return 1;
	state = slot->walk.state;
	if (!state) {
		if (!slot->walk.interpreter)
			return 1;
		slot->walk.state =
			user_word(slot->walk.interpreter + slot->build.interpreter_threads);
		slot->walk.interpreter =
			user_word(slot->walk.interpreter + slot->build.interpreter_next);
		return 0;
	}
	slot->walk.state = user_word(state + slot->build.thread_next);
	if (!is_own_state(slot, state))
		return 0;
	if (!slot->walk.hit)
		slot->walk.hit = state;
	if (!top_frame(slot, state))
		return 0;
	slot->walk.hit = state;
	return 1;
}

/*
 * The thread's state from its thread-local storage, under CPython's key; 0: not there. With
 * `several` interpreters, it may be a state that was made in another thread (3.12).
 */
static __always_inline u64 keyed_state(const struct slot *slot, u64 runtime, bool several)
{
	u32 key[2] = {}; /* Py_tss_t: whether it was created, and its number */
	u64 state;

	if (!THREAD_KEYS || !slot->build.runtime_key)
		return 0;
	if (bpf_probe_read_user(key, sizeof(key), (void *)(runtime + slot->build.runtime_key)))
		return 0;
	if (key[0] != 1 || key[1] >= MAX_GLIBC_KEYS)
		return 0;
	state = user_word(slot->walk.self + THREAD_KEYS + 16 * (u64)key[1] + 8);
	if (!state || is_own_state(slot, state))
		return state;
	return several && top_frame(slot, state) ? state : 0;
}

/* Whether the task may have a thread pointer that the kernel does not know yet. */
static __always_inline bool lacks_pointer(const struct slot *slot)
{
	return THREAD_POINTER_IS_LATE && !slot->walk.self;
}

/* The state of the only thread that the only interpreter knows; 0 if there are others. */
static __always_inline u64 only_state(const struct slot *slot, u64 interpreter, bool several)
{
	u64 state = user_word(interpreter + slot->build.interpreter_threads);

	return several || user_word(state + slot->build.thread_next) ? 0 : state;
}

static __always_inline u64 find_state(struct slot *slot, kernel_task *task, u64 first,
				      bool several)
{
	u64 runtime = slot->python.base + slot->build.runtime;
	u32 number = slot->number;
	u64 state = 0;

	slot->walk.self = THREAD_POINTER(task);
	slot->walk.hit = 0;
	if (lacks_pointer(slot))
		return only_state(slot, first, several);
	/* Up to 3.11, the key is for the main interpreter: not if there are others. */
	if (slot->build.minor >= MINOR_KEYED || !several)
		state = keyed_state(slot, runtime, several);
	if (state)
		return state;
	slot->walk.state = 0;
	slot->walk.interpreter = first;
	bpf_loop(MAX_THREADS, try_state, &number, 0);
	return slot->walk.hit;
}

/* Find the thread's innermost frame; returns FRAMES_*, and sets slot->walk. */
static __always_inline u32 find_frames(struct slot *slot, kernel_task *task)
{
	u64 first = user_word(slot->python.base + slot->build.runtime +
			      slot->build.runtime_interpreters);
	bool several = user_word(first + slot->build.interpreter_next);
	u64 state = find_state(slot, task, first, several);

	slot->walk.state = state;
	slot->walk.outer = 0;
	slot->walk.interpreter = several ? first : 0;
	slot->walk.several = several;
	slot->walk.digest = 0;
	slot->walk.frame = state ? top_frame(slot, state) : 0;
	if (!state)
		return lacks_pointer(slot) ? FRAMES_NO_POINTER : FRAMES_NO_THREAD;
	return slot->walk.frame ? FRAMES_WHOLE : FRAMES_IDLE;
}

/* Walk the frames that find_frames() found, which returned `status`; returns FRAMES_*. */
static __always_inline u32 walk_frames(struct slot *slot, u32 status)
{
	u32 number = slot->number;

	if (status != FRAMES_WHOLE)
		return status;
	slot->walk.status = FRAMES_WHOLE;
	bpf_loop(MAX_WALK, walk_frame, &number, 0);
	if (slot->walk.status != FRAMES_WHOLE)
		return slot->walk.status;
	if (slot->walk.frame || slot->walk.outer || slot->walk.interpreter)
		return FRAMES_CUT; /* more frames than MAX_WALK, perhaps in a circle */
	return slot->walk.several && slot->walk.hit ? FRAMES_UNSURE : FRAMES_WHOLE;
}

static __always_inline bool emit_frames(const struct slot *slot)
{
	u64 flags, size;

	if (!has_room(MAP(calls), RING_FOR_FRAMES))
		return false;
	flags = wake_flags(MAP(calls), RING_CALLS_BYTES);
	/* Checked last: Linux 6.1's verifier forgets a bound when the value is spilled. */
	size = slot->record.event.count;
	barrier_var(size);
	if (size > MAX_FRAMES)
		return false;
	size = sizeof(struct frames_event) + size * sizeof(struct frame);
	return !bpf_ringbuf_output(MAP(calls), (void *)&slot->record, size, flags);
}

/*
 * Prepare the slot's event for the current thread's frames, of which `limit` are kept, and
 * for the `child` that it starts, if any. Returns NULL if the process has no known CPython.
 */
static __always_inline struct python *begin_walk(struct slot *slot, kernel_task *task,
						 kernel_task *child, u64 now, u32 limit)
{
	struct frames_event *event = &slot->record.event;
	struct python *python = find_python(slot, task);
	struct interpreter *build;
	u32 number;

	if (!python)
		return NULL;
	number = python->interpreter - 1;
	build = bpf_map_lookup_elem(MAP(interpreters), &number);
	if (!build)
		return NULL;
	bpf_probe_read_kernel(&slot->build, sizeof(*build), build);
	slot->python.base = python->base;
	slot->walk.limit = limit;
	event->ktime_ns = now;
	event->kind = KIND_FRAMES;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->tid = bpf_get_current_pid_tgid();
	event->start_ns = python->start_ns;
	event->thread_ns = READ(task, start_boottime);
	event->child_ns = child ? READ(child, start_boottime) : 0;
	event->exec_id = python->exec_id;
	event->child = child ? READ(child, pid) : 0;
	event->count = 0;
	event->total = 0;
	event->level = 0;
	event->callback = 0;
	event->test[0] = 0;
	return python;
}

#endif
