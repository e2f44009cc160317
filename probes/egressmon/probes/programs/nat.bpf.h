/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Packets that this machine sends elsewhere than their sockets were aimed (NAT): the hooks
 * that announce a peer run before netfilter translates it, and those of packets after.
 */
#ifndef EGRESSMON_NAT_H
#define EGRESSMON_NAT_H

#include "packet.bpf.h"

/* As is_unspecified(), without a branch. */
static __always_inline u32 is_unspecified_at_once(const u32 address[4])
{
	return !(address[0] | address[1] | address[3] | (address[2] & ~bpf_htonl(0xffff))) &
	       (!address[2] | !(address[2] ^ bpf_htonl(0xffff)));
}

/*
 * Whether a packet was translated. Certain without asking conntrack where the socket was
 * given one peer in all its life: nothing else can have been meant. Source routes (options,
 * extension headers) name another target first, so such a packet is taken as it is. So are
 * those of raw sockets, and of sockets made outside, whose first peer no hook may have seen.
 */
static __always_inline bool is_translated(struct __sk_buff *skb, struct bpf_sock *sk,
					  const struct socket_state *state,
					  const struct packet *packet)
{
	const struct endpoint *first = &state->first, *target = &packet->target;
	u32 odd;

	/* Without branches, which the verifier would follow. */
	odd = (state->named ^ 1) | !(state->flags & SOCKET_INSIDE);
	odd |= !packet->is_plain | packet->is_fragment | !(sk->type ^ SOCK_RAW);
	odd |= (first->protocol ^ target->protocol) | !first->port;
	/* What a listener sends is for who calls, wherever it was aimed before. */
	odd |= !(sk->state ^ STATE_LISTEN);
	odd |= is_unspecified_at_once(first->address);
	odd |= !((first->port ^ target->port) | (first->address[0] ^ target->address[0]) |
		 (first->address[1] ^ target->address[1]) |
		 (first->address[2] ^ target->address[2]) |
		 (first->address[3] ^ target->address[3]));
	return !forget(skb, odd);
}

/* Have packet's target be the peer that its socket was given, beside where it goes. */
static __always_inline void as_announced(struct __sk_buff *skb, struct bpf_sock *sk,
					 const struct socket_state *state,
					 struct packet *packet)
{
	packet->sent_to = packet->target;
	if (!sk || !state || !is_translated(skb, sk, state, packet))
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
