/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Registers and system calls of arm64 (arch/arm64/include/{uapi/,}asm/{ptrace,processor}.h). */
#ifndef EGRESSMON_ARM64_H
#define EGRESSMON_ARM64_H

#include "portable.bpf.h"

#define REGISTER_COUNT 34 /* struct user_pt_regs */
#define REGISTER_RETURNED 0
#define REGISTER_STACK 31
#define REGISTER_INSTRUCTION 32
#define REGISTER_STATE 33
#define STATE_COMPAT 0x10	 /* PSR_MODE32_BIT */
#define KERNEL_STACK_BYTES 16384 /* but 64 KiB with pages of 64 KiB */

/* struct pt_regs has more than user space knows of, and not always as much. */
#ifdef EGRESSMON_BCC
#define SAVED_REGISTERS_BYTES SIZE_pt_regs
#else
struct pt_regs___read {
	u64 any;
};

#define SAVED_REGISTERS_BYTES bpf_core_type_size(struct pt_regs___read)
#endif

#define IS_COMPAT(registers) ((registers)[REGISTER_STATE] & STATE_COMPAT)
/* glibc, nptl/descr.h: pthread_self() is below the thread pointer, by a size that varies. */
#define THREAD_SELF_WINDOW 4096
#define THREAD_KEYS 0 /* not at a fixed offset, so not used */
/* As it was saved when the task was last switched away from: 0 if it never was since exec. */
#define THREAD_POINTER_FIELD thread.uw.tp_value
#define THREAD_POINTER_IS_LATE 1

/*
 * System calls by number (include/uapi/asm-generic/unistd.h, and arm's), and where their
 * arguments are when they return. Behind struct user_pt_regs, struct pt_regs has the
 * original first argument and the number.
 */
#define REGISTER_CALL 35
#define CALL_FIRST 34
#define CALL_SECOND 1
#define COMPAT_FIRST 34
#define COMPAT_SECOND 1
#define CALL_NUMBER(registers) call_half(registers, REGISTER_CALL)
/* On some kernels (5.10) as it was before a tracer could change it, by PTRACE_SETREGSET. */
#define CALL_FIRST_IS_EARLY 1
#define CALL_IOCTL 29
#define CALL_SOCKET 198
#define CALL_CONNECT 203
#define COMPAT_IOCTL 54
#define COMPAT_SOCKETCALL 102
#define COMPAT_SOCKET 281
#define COMPAT_CONNECT 283
#define IS_NATIVE(number)                                                                      \
	((number) == CALL_IOCTL || (number) == CALL_SOCKET || (number) == CALL_CONNECT)
#define IS_COMPAT_CALL(number)                                                                 \
	((number) == COMPAT_IOCTL || (number) == COMPAT_SOCKETCALL ||                          \
	 (number) == COMPAT_SOCKET || (number) == COMPAT_CONNECT)
#define CALL_IS_COMPAT(task, registers)                                                        \
	(call_register(registers, REGISTER_STATE) & STATE_COMPAT)

#ifndef EGRESSMON_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

struct user_words___read {
	unsigned long tp_value; /* the first field */
};

KERNEL_STRUCT(thread_struct)
{
	KERNEL_FIELD(thread_struct, struct user_words___read, uw);
};

#ifndef EGRESSMON_BCC
#pragma clang attribute pop
#endif

#endif
