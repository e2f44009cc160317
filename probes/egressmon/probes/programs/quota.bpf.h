/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A quota of the DNS messages that are read of a socket: a token bucket that gains a byte
 * each 4,096 ns (244 KB a second). A message takes its size plus MESSAGE_COST, so that many
 * small ones are limited as well: to 500 look-ups a second, and bursts of 2,000.
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

/* Whether `size` more bytes may be read. Without state (its owner is unknown): no limit. */
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
