/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Registers and system calls of x86-64 (arch/x86/include/asm/{ptrace,processor}.h). */
#ifndef EGRESSMON_X86_H
#define EGRESSMON_X86_H

#include "portable.bpf.h"

#define REGISTER_COUNT 21 /* struct pt_regs */
#define REGISTER_RETURNED 10
#define REGISTER_INSTRUCTION 16
#define REGISTER_SEGMENT 17
#define REGISTER_STACK 19
#define SEGMENT_COMPAT 0x23 /* __USER32_CS */
#define KERNEL_STACK_BYTES 16384
#define SAVED_REGISTERS_BYTES (REGISTER_COUNT * sizeof(u64))

#define IS_COMPAT(registers) ((registers)[REGISTER_SEGMENT] == SEGMENT_COMPAT)
/*
 * glibc, nptl/descr.h: pthread_self() is the thread pointer; the values of the first keys
 * are at THREAD_KEYS from it.
 */
#define THREAD_SELF_WINDOW 0
#define THREAD_KEYS 0x310
#define THREAD_POINTER_FIELD thread.fsbase
#define THREAD_POINTER_IS_LATE 0

/*
 * System calls by number (arch/x86/entry/syscalls/syscall_{64,32}.tbl), and where their
 * arguments are when they return.
 */
#define REGISTER_CALL 15
#define CALL_FIRST 14
#define CALL_SECOND 13
#define COMPAT_FIRST 5
#define COMPAT_SECOND 11
/* Without the bit of x32. */
#define CALL_NUMBER(registers) (call_register(registers, REGISTER_CALL) & 0xbfffffff)
#define CALL_FIRST_IS_EARLY 0
#define CALL_IOCTL 16
#define CALL_SOCKET 41
#define CALL_CONNECT 42
#define CALL_IOCTL_X32 514
#define COMPAT_IOCTL 54
#define COMPAT_SOCKETCALL 102
#define COMPAT_SOCKET 359
#define COMPAT_CONNECT 362
#define IS_NATIVE(number)                                                                      \
	((number) == CALL_IOCTL || (number) == CALL_SOCKET || (number) == CALL_CONNECT ||      \
	 (number) == CALL_IOCTL_X32)
#define IS_COMPAT_CALL(number)                                                                 \
	((number) == COMPAT_IOCTL || (number) == COMPAT_SOCKETCALL ||                          \
	 (number) == COMPAT_SOCKET || (number) == COMPAT_CONNECT)
#define STATUS_COMPAT 2 /* TS_COMPAT: 64-bit code can make 32-bit calls, too */
#define CALL_IS_COMPAT(task, registers)                                                        \
	(READ((KERNEL_STRUCT(thread_info) *)(task), status) & STATUS_COMPAT)

#ifndef EGRESSMON_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

/* A task_struct begins with it. */
KERNEL_STRUCT(thread_info)
{
	KERNEL_FIELD(thread_info, u32, status);
};

KERNEL_STRUCT(thread_struct)
{
	KERNEL_FIELD(thread_struct, unsigned long, fsbase);
};

#ifndef EGRESSMON_BCC
#pragma clang attribute pop
#endif

#endif
