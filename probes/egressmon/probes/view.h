/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * How a process sees files: in which namespaces, and whether its loader was told to
 * load what the program does not ask for.
 */
#ifndef EGRESSMON_VIEW_H
#define EGRESSMON_VIEW_H

#include "kernel.h"

#define MAX_PIECES_OF_ENVIRONMENT 400
#define ENVIRONMENT_PIECE 256		  /* a power of two */
#define ENVIRONMENT_PIECE_BITS 8	  /* which one */
#define LD_PRELOAD_FIRST 0x4f4c4552505f444c /* "LD_PRELO" */
#define LD_AUDIT_FIRST 0x54494455415f444c   /* "LD_AUDIT" */

static __always_inline u32 mounts_of(kernel_task *task)
{
	return READ(READ(READ(task, nsproxy), mnt_ns), ns.inum);
}

static __always_inline u32 users_of(kernel_task *task)
{
	return READ(READ(READ(task, cred), user_ns), ns.inum);
}

/*
 * As the kernel laid the environment out for a new program, before its first
 * instruction. A variable goes by its first eight letters, and a long one is read in
 * pieces, of which a later one may be taken for a variable: too much may be said to be
 * preloaded, never too little. The verifier walks through each piece: few instructions.
 */
static __always_inline u32 preload_of(kernel_task *task)
{
	unsigned long place = READ(READ(task, mm), env_start);
	unsigned long end = READ(READ(task, mm), env_end);
	u64 words[ENVIRONMENT_PIECE / sizeof(u64)] = {};

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < MAX_PIECES_OF_ENVIRONMENT; i++) {
		long size;

		if (place >= end)
			return PRELOAD_NONE;
		size = bpf_probe_read_user_str(words, sizeof(words), (void *)place);
		if (size <= 0)
			return PRELOAD_UNREAD;
		if (words[0] == LD_PRELOAD_FIRST || words[0] == LD_AUDIT_FIRST)
			return PRELOAD_SET;
		place += size - (size >> ENVIRONMENT_PIECE_BITS); /* less its end if it is cut */
	}
	return PRELOAD_UNREAD;
}

#endif
