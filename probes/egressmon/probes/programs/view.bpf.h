/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * How a process sees files: in which namespaces, and whether its environment has LD_PRELOAD
 * or LD_AUDIT, by which the dynamic linker loads further libraries.
 */
#ifndef EGRESSMON_VIEW_H
#define EGRESSMON_VIEW_H

#include "maps.bpf.h"

#define MAX_PIECES_OF_ENVIRONMENT 400
#define ENVIRONMENT_PIECE 1024		    /* a power of two */
#define ENVIRONMENT_PIECE_BITS 10	    /* its logarithm */
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
 * Search the environment, from `place` to `end`, as the kernel laid it out for a new
 * program. Only a variable's first eight letters are compared, and a long one is read in
 * pieces, any of which may look like the beginning of a variable: so PRELOAD_SET may be
 * wrong, but PRELOAD_NONE is not. The verifier walks through each turn, so these are short.
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
		/* Without the final zero that was added if the piece was cut. */
		place += size - (size >> ENVIRONMENT_PIECE_BITS);
	}
	return PRELOAD_UNREAD;
}

/*
 * The buffer is room in a ring, discarded afterwards: a buffer on the stack is tracked by
 * the verifier byte by byte. It is the ring whose events matter least.
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
