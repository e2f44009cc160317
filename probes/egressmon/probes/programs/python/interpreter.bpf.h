/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Finds CPython in a process, at its first call.
 *
 * The probes follow the dynamic linker's list of loaded files (elf(5) and link.h: auxiliary
 * vector, program headers, DT_DEBUG, struct link_map) and compare each file with each build
 * that the agent has registered: _DYNAMIC is at the same distance from the base, and in
 * memory PyCode_Type has the type PyType_Type and this build's size. So neither file names
 * nor inode numbers matter, and no earlier event of the process is needed.
 */
#ifndef EGRESSMON_INTERPRETER_H
#define EGRESSMON_INTERPRETER_H

#include "slot.bpf.h"

#define MAX_PYTHONS 16384
#define MAX_PROGRAM_HEADERS 32
#define MAX_DYNAMIC 128
#define MAX_TRIES 8192 /* comparisons of a build with a file, in one search */

#define AUXILIARY_HEADERS 3
#define AUXILIARY_HEADER_COUNT 5
#define SEGMENT_DYNAMIC 2
#define SEGMENT_HEADERS 6
#define DYNAMIC_DEBUG 21
#define DEBUG_FIRST_LINK 8
#define LINK_DYNAMIC 16
#define LINK_NEXT 24

struct elf_segment {
	u32 kind;
	u32 flags;
	u64 offset;
	u64 address;
	u64 physical;
	u64 file_size;
	u64 size;
	u64 align;
};

DEFINE_MAP(interpreters, ARRAY, u32, struct interpreter, MAX_INTERPRETERS, 0);
DEFINE_MAP(census, ARRAY, u32, struct census, 1, 0);
DEFINE_MAP(pythons, LRU_HASH, u32, struct python, MAX_PYTHONS, 0);

static long read_auxiliary(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	u64 value;

	if (!slot || i >= AUXILIARY_WORDS / 2)
		return 1;
	value = slot->search.words[(2 * i + 1) & (AUXILIARY_ROOM - 1)];
	switch (slot->search.words[(2 * i) & (AUXILIARY_ROOM - 1)]) {
	case 0:
		return 1;
	case AUXILIARY_HEADERS:
		slot->search.headers = value;
		break;
	case AUXILIARY_HEADER_COUNT:
		slot->search.header_count = value;
		break;
	}
	return 0;
}

static long read_program_header(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	struct elf_segment segment;
	u64 address;

	if (!slot || i >= slot->search.header_count)
		return 1;
	address = slot->search.headers + i * sizeof(segment);
	if (bpf_probe_read_user(&segment, sizeof(segment), (void *)address)) {
		slot->search.unreadable = 1;
		return 1;
	}
	if (segment.kind == SEGMENT_HEADERS)
		slot->search.base = slot->search.headers - segment.address;
	else if (segment.kind == SEGMENT_DYNAMIC)
		slot->search.dynamic = segment.address;
	return 0;
}

static long read_dynamic(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	u64 entry[2];
	u64 address;

	if (!slot)
		return 1;
	address = slot->search.base + slot->search.dynamic + i * sizeof(entry);
	if (bpf_probe_read_user(entry, sizeof(entry), (void *)address) || !entry[0])
		return 1;
	if (entry[0] != DYNAMIC_DEBUG)
		return 0;
	slot->search.link = user_word(entry[1] + DEBUG_FIRST_LINK);
	return 1;
}

static __always_inline bool is_at(const struct interpreter *build, u64 base)
{
	u64 type = base + build->code_type;

	if (user_word(type + build->object_type) != base + build->type_type)
		return false;
	return user_word(type + build->type_size) == build->code_size;
}

/* Compare the next build with the current file; after the last one, go to the next file. */
static long try_base(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	struct interpreter *build;
	u32 candidate;

	if (!slot)
		return 1;
	candidate = slot->search.number;
	if (candidate >= slot->search.count) {
		if (!slot->search.link)
			return 1;
		slot->search.base = user_word(slot->search.link);
		slot->search.dynamic =
			user_word(slot->search.link + LINK_DYNAMIC) - slot->search.base;
		slot->search.link = user_word(slot->search.link + LINK_NEXT);
		slot->search.number = 0;
		return 0;
	}
	slot->search.number = candidate + 1;
	build = bpf_map_lookup_elem(MAP(interpreters), &candidate);
	/* First without a read of memory, which takes a microsecond. */
	if (!build || build->dynamic != slot->search.dynamic)
		return 0;
	if (!is_at(build, slot->search.base))
		return 0;
	slot->search.found = candidate + 1;
	return 1;
}

static __always_inline void search(struct slot *slot, kernel_task *task, u32 count)
{
	KERNEL_STRUCT(mm_struct) *mm = READ(task, mm);
	u32 number = slot->number;

	__builtin_memset(&slot->search, 0, sizeof(slot->search));
	bpf_probe_read_kernel(slot->search.words, sizeof(auxiliary_vector), &mm->saved_auxv);
	bpf_loop(AUXILIARY_WORDS / 2, read_auxiliary, &number, 0);
	bpf_loop(MAX_PROGRAM_HEADERS, read_program_header, &number, 0);
	if (slot->search.dynamic)
		bpf_loop(MAX_DYNAMIC, read_dynamic, &number, 0);
	slot->search.count = count;
	bpf_loop(MAX_TRIES, try_base, &number, 0);
}

static __always_inline u64 environ_of(const struct interpreter *build, u64 base)
{
	if (build->environ_kind == ENVIRON_HERE)
		return base + build->environ;
	if (build->environ_kind == ENVIRON_LINKED)
		return user_word(base + build->environ);
	return 0;
}

/* What is known of the current process, after a search at its first call; NULL: no CPython. */
static __always_inline struct python *find_python(struct slot *slot, kernel_task *task)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	u64 start_ns = READ(READ(task, group_leader), start_boottime);
	u32 exec_id = READ(task, self_exec_id);
	struct python *python = bpf_map_lookup_elem(MAP(pythons), &tgid);
	struct interpreter *build;
	struct census *known;
	u32 number = 0;

	known = bpf_map_lookup_elem(MAP(census), &number);
	if (!known)
		return NULL;
	if (python && python->start_ns == start_ns && python->exec_id == exec_id) {
		if (python->interpreter)
			return python;
		if (python->generation == known->generation)
			return NULL;
	}
	__builtin_memset(&slot->python, 0, sizeof(slot->python));
	slot->python.start_ns = start_ns;
	slot->python.exec_id = exec_id;
	slot->python.generation = known->generation;
	search(slot, task, known->count);
	slot->python.interpreter = slot->search.found;
	slot->python.base = slot->search.base;
	number = slot->search.found - 1;
	build = slot->search.found ? bpf_map_lookup_elem(MAP(interpreters), &number) : NULL;
	if (build)
		slot->python.environ = environ_of(build, slot->search.base);
	/* Not remembered if a page could not be read: at the next call it may be there. */
	if (build || !slot->search.unreadable)
		bpf_map_update_elem(MAP(pythons), &tgid, &slot->python, BPF_ANY);
	return build ? bpf_map_lookup_elem(MAP(pythons), &tgid) : NULL;
}

/*
 * The current process forks `child`: remember the same CPython for it. A search could fail
 * there, as a new process's page tables lack the pages of files.
 */
static __always_inline void inherit_python(struct slot *slot, const struct python *python,
					   kernel_task *child)
{
	u32 tgid = READ(child, tgid);

	if (tgid == bpf_get_current_pid_tgid() >> 32)
		return; /* a thread */
	__builtin_memset(&slot->python, 0, sizeof(slot->python));
	slot->python.start_ns = READ(child, start_boottime);
	slot->python.exec_id = python->exec_id;
	slot->python.base = python->base;
	slot->python.environ = python->environ;
	slot->python.interpreter = python->interpreter;
	bpf_map_update_elem(MAP(pythons), &tgid, &slot->python, BPF_ANY);
}

#endif
