/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What is particular to x86-64 (arch/x86/include/asm/{ptrace,processor}.h). */
#ifndef EGRESSMON_X86_H
#define EGRESSMON_X86_H

#include "portable.h"

#define REGISTER_COUNT 21 /* struct pt_regs */
#define REGISTER_RETURNED 10
#define REGISTER_ARGUMENT 14 /* the first */
#define REGISTER_INSTRUCTION 16
#define REGISTER_SEGMENT 17
#define REGISTER_STACK 19
#define SEGMENT_COMPAT 0x23 /* __USER32_CS */
#define KERNEL_STACK_BYTES 16384

#define IS_COMPAT(registers) ((registers)[REGISTER_SEGMENT] == SEGMENT_COMPAT)
/* glibc, nptl/descr.h: pthread_self() is the thread pointer, and the first keys' values. */
#define THREAD_SELF_WINDOW 0
#define THREAD_KEYS 0x310
#define THREAD_POINTER(task) READ(task, thread.fsbase)

#ifndef EGRESSMON_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

KERNEL_STRUCT(thread_struct)
{
	KERNEL_FIELD(thread_struct, unsigned long, fsbase);
};

#ifndef EGRESSMON_BCC
#pragma clang attribute pop
#endif

#endif
