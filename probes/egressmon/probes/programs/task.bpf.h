/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The current task, and how its fields are read. */
#ifndef EGRESSMON_TASK_H
#define EGRESSMON_TASK_H

#include "maps.bpf.h"

/* By number: each engine's headers declare them with types of their own. */
static kernel_task *(*current_task_btf)(void) = (void *)158; /* BPF_FUNC_get_current_task_btf */
static u64 (*task_registers)(kernel_task *task) = (void *)175; /* BPF_FUNC_task_pt_regs */

/* enum bpf_func_id has it since Linux 5.15, and programs of cgroups have both then. */
#ifdef EGRESSMON_BCC
#define HAS_TASK_REGISTERS KERNEL_HAS_TASK_REGISTERS
#define KNOWS_TASK 0
#else
enum bpf_func_id___read {
	BPF_FUNC_task_pt_regs___read = 175,
};
#define HAS_TASK_REGISTERS                                                                     \
	bpf_core_enum_value_exists(enum bpf_func_id___read, BPF_FUNC_task_pt_regs___read)
/* The verifier knows what such a pointer points to, and lets its fields be read in place. */
#define KNOWS_TASK HAS_TASK_REGISTERS
#endif

static __always_inline kernel_task *current_task(void)
{
	if (KNOWS_TASK)
		return current_task_btf();
	return (kernel_task *)bpf_get_current_task();
}

/*
 * A field of a structure that was reached from current_task() by nothing else: in place,
 * where it can be, as each READ() takes 20 to 40 ns; zero where there is no such structure.
 */
#define FIELD(pointer, field) (KNOWS_TASK ? (pointer)->field : READ(pointer, field))

static __always_inline bool is_kernel_thread(void)
{
	return FIELD(current_task(), flags) & TASK_KERNEL_THREAD;
}

#endif
