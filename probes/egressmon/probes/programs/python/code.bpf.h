/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Emits each code object once, and tells them apart by fingerprints. */
#ifndef EGRESSMON_CODE_H
#define EGRESSMON_CODE_H

#include "interpreter.bpf.h"

#define MAX_CODES 65536
#define WINDOW_NS 100000000
#define MAX_CODES_WINDOW 4000 /* in each process */

#define TEXT_COMPACT 8
#define TEXT_ASCII 16

DEFINE_MAP(codes, LRU_HASH, struct code_key, u8, MAX_CODES, 0);

static __always_inline u64 mix(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return hash ^ (hash >> 32);
}

static __always_inline u64 code_word(const struct slot *slot, u32 offset)
{
	offset &= CODE_BYTES - 1;
	return offset > CODE_BYTES - 8 ? 0 : *(const u64 *)(slot->code + offset);
}

static __always_inline u32 code_half(const struct slot *slot, u32 offset)
{
	offset &= CODE_BYTES - 1;
	return offset > CODE_BYTES - 4 ? 0 : *(const u32 *)(slot->code + offset);
}

static __always_inline u64 mix_memory(u64 hash, u64 address)
{
	u64 words[8] = {};

	bpf_probe_read_user(words, sizeof(words), (void *)address);
	for (u32 i = 0; i < 8; i++)
		hash = mix(hash, words[i]);
	return hash;
}

/*
 * Tells apart code objects that have the same address in turn, as it is reused. CPython
 * numbers code objects since 3.12 (co_version); before, their contents are hashed.
 */
static __always_inline u32 fingerprint(const struct slot *slot)
{
	const struct interpreter *build = &slot->build;
	u64 file = code_word(slot, build->code_file);
	u64 name = code_word(slot, build->code_name);
	u64 lines = code_word(slot, build->code_lines);
	u64 hash = mix(code_half(slot, build->code_first_line), file);

	hash = mix(mix(hash, name), lines);
	if (build->code_version)
		return mix(hash, code_half(slot, build->code_version));
	/* Of each object: its length, its hash, and the beginning of its contents. */
	hash = mix_memory(hash, file + build->text_length);
	hash = mix_memory(hash, name + build->text_length);
	return mix_memory(hash, lines + build->bytes_size);
}

struct text {
	u32 size;
	u32 kind;
	bool missing;
	bool cut;
};

/*
 * Copy a str (PEP 393) to `place` in the record's content, cut if it is too long. Returns the
 * place behind it.
 */
static __always_inline u64 copy_text(struct slot *slot, u64 address, u64 place,
				     struct text *text)
{
	const struct interpreter *build = &slot->build;
	u32 state = user_half(address + build->text_state) >> build->text_shift;
	u64 length = user_word(address + build->text_length);
	u64 start = address + (state & TEXT_ASCII ? build->text_ascii : build->text_compact);
	u32 kind = state & 7;
	u64 size;

	text->missing = true;
	if (!(state & TEXT_COMPACT) || (kind != 1 && kind != 2 && kind != 4))
		return place;
	text->kind = state & TEXT_ASCII ? 0 : kind;
	text->cut = length > TEXT_SIZE / kind;
	size = text->cut ? TEXT_SIZE : length * kind;
	barrier_var(size);
	if (size > TEXT_SIZE)
		return place;
	barrier_var(place);
	if (place > TEXT_SIZE)
		return place;
	/* Changes nothing, but Linux 6.1's verifier forgets the comparison at a spill. */
	asm volatile("%0 &= 1023" : "+r"(place));
	if (bpf_probe_read_user(slot->code_record.content + place, size, (void *)start))
		return place;
	text->missing = false;
	text->size = size;
	return place + size;
}

/* Copy the line table, whole or not at all. Returns how many bytes it has. */
static __always_inline u64 copy_lines(struct slot *slot, u64 address, u64 place, bool *missing)
{
	u64 size = user_word(address + slot->build.bytes_size);
	u64 start = address + slot->build.bytes_data;

	*missing = true;
	barrier_var(size);
	if (size > LINES_SIZE)
		return 0;
	barrier_var(place);
	if (place > 2 * TEXT_SIZE)
		return 0;
	if (bpf_probe_read_user(slot->code_record.content + place, size, (void *)start))
		return 0;
	*missing = false;
	return size;
}

static __always_inline bool emit_code(struct slot *slot, const struct code_key *key)
{
	struct code_event *event = &slot->code_record.event;
	const struct interpreter *build = &slot->build;
	struct text file = {}, name = {};
	u64 place, size;
	bool no_lines;

	place = copy_text(slot, code_word(slot, build->code_file), 0, &file);
	FORGET(file);
	FORGET(place);
	place = copy_text(slot, code_word(slot, build->code_name), place, &name);
	FORGET(name);
	FORGET(place);
	size = copy_lines(slot, code_word(slot, build->code_lines), place, &no_lines);
	/* The time of the frames event that follows: the reader must not put it first. */
	event->ktime_ns = slot->record.event.ktime_ns;
	event->kind = KIND_CODE;
	event->tgid = key->tgid;
	event->start_ns = key->start_ns;
	event->code = key->code;
	event->exec_id = key->exec_id;
	event->fingerprint = key->fingerprint;
	event->minor = build->minor;
	event->first_line = code_half(slot, build->code_first_line);
	event->file_size = file.size;
	event->file_kind = file.kind;
	event->name_size = name.size;
	event->name_kind = name.kind;
	event->lines_size = size;
	event->missing = (file.missing ? CODE_NO_FILE : 0) | (name.missing ? CODE_NO_NAME : 0) |
			 (no_lines ? CODE_NO_LINES : 0) | (file.cut ? CODE_CUT_FILE : 0) |
			 (name.cut ? CODE_CUT_NAME : 0);
	size += place + sizeof(*event);
	barrier_var(size);
	if (size > sizeof(struct code_record))
		return false;
	return !bpf_ringbuf_output(MAP(calls), event, size,
				   wake_flags(MAP(calls), RING_CALLS_BYTES));
}

/* A limit for each process and window, so that code without end does not fill the ring. */
static __always_inline bool may_tell(u32 tgid)
{
	struct python *python = bpf_map_lookup_elem(MAP(pythons), &tgid);
	u64 now = bpf_ktime_get_boot_ns();

	if (!python)
		return false;
	if (now - python->window_ns > WINDOW_NS) {
		python->window_ns = now;
		python->told = 0;
	}
	if (!has_room(MAP(calls), RING_FOR_FRAMES))
		return false;
	return python->told++ < MAX_CODES_WINDOW;
}

/* Emit the code object in slot->code, unless it was before. */
static __always_inline void emit_new_code(struct slot *slot, u64 code, u32 print)
{
	struct code_key key = {.start_ns = slot->record.event.start_ns,
			       .code = code,
			       .tgid = slot->record.event.tgid,
			       .exec_id = slot->record.event.exec_id,
			       .fingerprint = print};
	u8 one = 1;

	if (bpf_map_lookup_elem(MAP(codes), &key))
		return;
	if (may_tell(key.tgid) && emit_code(slot, &key))
		bpf_map_update_elem(MAP(codes), &key, &one, BPF_ANY);
	else
		count(COUNT_MISSED_CODE, 1);
}

#endif
