/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * How much of a socket's DNS messages is read: a bucket that fills by a byte each
 * 4,096 ns (244 KB a second). A message takes its size and what it costs to read it,
 * so that small ones are not cheap: 500 look-ups a second, and 2,000 at once.
 */
#ifndef EGRESSMON_QUOTA_H
#define EGRESSMON_QUOTA_H

#include "socket.bpf.h"

#define QUOTA_BYTES 1048576
#define QUOTA_SHIFT 12
#define MESSAGE_COST 128

static __always_inline void refill(struct socket_state *state)
{
	u64 now = bpf_ktime_get_boot_ns();
	u64 earned = (now - state->dns_ns) >> QUOTA_SHIFT;

	if (!earned)
		return;
	state->dns_ns = now;
	earned += state->dns_left;
	state->dns_left = earned > QUOTA_BYTES ? QUOTA_BYTES : earned;
}

/* Whether size more bytes are read; a socket that nobody is known to own has no limit. */
static __always_inline bool may_read(struct socket_state *state, u32 size)
{
	u32 cost = size + MESSAGE_COST;

	if (!state)
		return true;
	refill(state);
	if (state->dns_left >= cost) {
		state->dns_left -= cost;
		return true;
	}
	__sync_fetch_and_add(&state->dns_unread, size);
	return false;
}

#endif
