/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Packets that this machine sends elsewhere than their sockets were aimed (NAT): the hooks
 * that announce a peer run before netfilter translates it, and those of packets after.
 */
#ifndef EGRESSMON_NAT_H
#define EGRESSMON_NAT_H

#include "packet.bpf.h"

/*
 * Whether a packet was translated. Certain without asking conntrack where the socket was
 * given one peer in all its life: nothing else can have been meant. Source routes (options,
 * extension headers) name another target first, so such a packet is taken as it is; so are
 * raw sockets, and those that were named another peer by whom no hook saw.
 */
static __always_inline bool is_translated(struct bpf_sock *sk, const struct socket_state *state,
					  const struct packet *packet)
{
	if (!sk || !state || state->named != 1 || !(state->flags & SOCKET_INSIDE))
		return false;
	if (!packet->is_plain || packet->is_fragment || sk->type == SOCK_RAW)
		return false;
	if (state->first.protocol != packet->target.protocol || !state->first.port)
		return false;
	return !is_aimed(&state->first, &packet->target);
}

/* Have packet's target be the peer that its socket was given, beside where it goes. */
static __always_inline void as_announced(struct bpf_sock *sk, const struct socket_state *state,
					 struct packet *packet)
{
	packet->sent_to = packet->target;
	if (!is_translated(sk, state, packet))
		return;
	packet->target = state->first;
	packet->is_translated = 1;
}

/* Whether a socket was aimed at a DNS server, wherever its packets go. */
static __always_inline bool is_aimed_at_dns(const struct socket_state *state)
{
	return state && state->named == 1 && state->first.port == DNS_PORT;
}

#endif
