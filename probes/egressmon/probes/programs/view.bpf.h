/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * How a process sees files: in which namespaces, and whether its loader was told to
 * load what the program does not ask for.
 */
#ifndef EGRESSMON_VIEW_H
#define EGRESSMON_VIEW_H

#include "maps.bpf.h"

#define MAX_PIECES_OF_ENVIRONMENT 400
#define ENVIRONMENT_PIECE 1024		    /* a power of two */
#define ENVIRONMENT_PIECE_BITS 10	    /* which one */
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
static __always_inline u32 find_preload(u64 *piece, unsigned long place, unsigned long end)
{
	long size;

#pragma clang loop unroll(disable)
	for (u64 left = MAX_PIECES_OF_ENVIRONMENT; left; left--) {
		if (place >= end)
			return PRELOAD_NONE;
		size = bpf_probe_read_user_str(piece, ENVIRONMENT_PIECE, (void *)place);
		if (size <= 0)
			break;
		if (*piece == LD_PRELOAD_FIRST || *piece == LD_AUDIT_FIRST)
			return PRELOAD_SET;
		place +=
			size - (size >> ENVIRONMENT_PIECE_BITS); /* less its end if it is cut */
	}
	return PRELOAD_UNREAD;
}

/*
 * By room in a ring that is given back: the verifier looks at a stack byte by byte. In
 * the one whose events matter least.
 */
static __always_inline u32 preload_of(kernel_task *task)
{
	u64 *piece = bpf_ringbuf_reserve(MAP(calls), ENVIRONMENT_PIECE, 0);
	u32 preload;

	if (!piece)
		return PRELOAD_UNREAD;
	preload = find_preload(piece, READ(READ(task, mm), env_start),
			       READ(READ(task, mm), env_end));
	bpf_ringbuf_discard(piece, BPF_RB_NO_WAKEUP);
	return preload;
}

#endif
