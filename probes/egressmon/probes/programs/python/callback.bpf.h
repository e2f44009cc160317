/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Tells whether a Context is copied for an asyncio callback that is no task: by the innermost
 * frame, which is that of asyncio's Handle.__init__, for each call_soon() and call_later().
 */
#ifndef EGRESSMON_CALLBACK_H
#define EGRESSMON_CALLBACK_H

#include "frames.bpf.h"

/* "syncio/events.py" and "__init__" (before 3.11 no class is named), as words in memory. */
#define END_OF_FILE_1 0x652f6f69636e7973
#define END_OF_FILE_2 0x79702e73746e6576
#define END_OF_NAME 0x5f5f74696e695f5f

/* Read the last `size` bytes of a str, whose characters must be one byte each. */
static __always_inline bool read_end(const struct slot *slot, u64 address, u64 *words, u64 size)
{
	const struct interpreter *build = &slot->build;
	u32 state = user_half(address + build->text_state) >> build->text_shift;
	u64 length = user_word(address + build->text_length);
	u64 start = address + (state & TEXT_ASCII ? build->text_ascii : build->text_compact);

	if (!(state & TEXT_COMPACT) || (state & 7) != 1 || length < size)
		return false;
	return !bpf_probe_read_user(words, size, (void *)(start + length - size));
}

static __always_inline bool is_handle(const struct slot *slot)
{
	u64 file[2] = {}, name = 0;

	if (!read_end(slot, code_word(slot, slot->build.code_file), file, sizeof(file)) ||
	    !read_end(slot, code_word(slot, slot->build.code_name), &name, sizeof(name)))
		return false;
	return file[0] == END_OF_FILE_1 && file[1] == END_OF_FILE_2 && name == END_OF_NAME;
}

/* Tells apart code objects that have an address in turn, by what they refer to. */
static __always_inline u64 quick_print(const struct slot *slot, const struct interpreter *build)
{
	u64 print = mix(0, code_word(slot, build->code_file));

	print = mix(print, code_word(slot, build->code_name));
	return mix(print, code_word(slot, build->code_lines));
}

/* After find_frames(). The code object is known from then on, by what it refers to. */
static __always_inline bool is_for_callback(struct slot *slot, struct python *python)
{
	u64 code;

	if (!read_frame(slot, slot->walk.frame))
		return false;
	code = frame_code(slot);
	if (!read_code(slot, code) || !holds_code(slot) || !is_handle(slot))
		return false;
	python->handle.code = code;
	python->handle.print = quick_print(slot, &slot->build);
	python->handle.self = slot->walk.self;
	python->handle.state = slot->walk.state;
	return true;
}

/*
 * The same, if it was so in this thread before, in a quarter of the time: each read costs.
 * Returns the thread's Context if it is for a callback, else 0. The state may be one of
 * several that the thread has, and no longer the one that runs: then its innermost frame is
 * what called into the other interpreter, and no Handle.
 */
static __always_inline u64 quick_callback(struct slot *slot, const struct handle *handle,
					  const struct interpreter *build)
{
	u64 context, frame, code;

	if (bpf_probe_read_user(slot->code, CODE_BYTES, (void *)handle->state))
		return 0;
	if (handle->self - code_word(slot, build->thread_id) > THREAD_SELF_WINDOW)
		return 0;
	context = code_word(slot, build->thread_context);
	frame = code_word(slot, build->thread_frame);
	if (frame && build->frame_indirect)
		frame = user_word(frame + build->frame_indirect - 1);
	code = user_word(frame + build->frame_code);
	if (build->minor >= MINOR_TAGGED)
		code &= ~3ULL;
	if (code != handle->code || !read_code(slot, code))
		return 0;
	return quick_print(slot, build) == handle->print ? context : 0;
}

#endif
