/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a packet of a stream is, and whether its receiver is one that was told of: asked
 * again of each packet on this machine, as others can take a stream over.
 */
#ifndef EGRESSMON_STREAM_H
#define EGRESSMON_STREAM_H

#include "packet.bpf.h"
#include "receiver.bpf.h"

/* What a packet is: nothing new, or a KIND, and more. */
#define NO_NEWS 0
#define NEWS_KIND 0xff
#define NEWS_DNS 0x100
#define NEWS_CANARY 0x200
#define NEWS_UNASKED 0x400
#define AGAIN 0x80
#define KIND_AGAIN 0xfe	 /* known, if the same receives it as before */
#define KIND_STREAM 0xfd /* what a packet of TCP is, was not looked at yet */

/* Receivers that are no news after another: nothing can have left by them. */
#define TOLD(receiver) (1u << (receiver))
#define TOLD_HARMLESS (TOLD(RECEIVER_SCOPE) | TOLD(RECEIVER_NOBODY))
#define TOLD_LEFT TOLD(RECEIVER_LEFT) /* beside these: by a listener outside the cgroup */

/* Whether packet is the first that goes where its socket was connected to. */
static __always_inline bool is_first(struct socket_state *state, const struct packet *packet)
{
	if (!state || !(state->flags & SOCKET_PENDING) ||
	    !is_aimed(&state->peer, &packet->target))
		return false;
	state->flags &= ~SOCKET_PENDING;
	state->peer = packet->target;
	return true;
}

/*
 * Whether a packet to a known peer need not be asked of: the worst of its device was told.
 * All else can change with each packet: the device by an option of the socket or of the
 * call, the receiver as sockets are bound and closed.
 */
static __always_inline bool is_worst_told(struct __sk_buff *skb, u32 told)
{
	u32 worst =
		skb->ifindex == LOOPBACK_INDEX ? TOLD(RECEIVER_OUTSIDE) : TOLD(RECEIVER_REMOTE);

	return told & worst;
}

/* A SYN begins a connection, a SYN with an ACK takes one up. */
static __always_inline bool begins(u8 tcp_flags)
{
	return tcp_flags & TCP_SYN;
}

static __always_inline struct socket_state *state_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(MAP(sockets), sk, 0, 0) : NULL;
}

/* Whether a socket was connected before the scope got it: all others have a peer. */
static __always_inline bool is_untold(const struct socket_state *state)
{
	return state && !(state->flags & (SOCKET_INSIDE | SOCKET_LINEAGE | SOCKET_BOUND)) &&
	       !state->peer.protocol;
}

/*
 * Whether a packet may give another's listener a stream on this machine that was told of.
 * The SYN need not have reached who was found then (SYN cookies, a SYN that crosses
 * another), and where the other end is closed unheard, a cookie lets the next listener have
 * the connection, by any packet that acknowledges it: with data, with a FIN, or bare, and
 * long after the first (__cookie_v4_check(), net/ipv4/syncookies.c, goes by the difference
 * of two numbers that both grow). It need not even have begun with a cookie: what is sent
 * moves the difference to any, and so to that of a cookie. So it is asked of each: once
 * another has taken it up, it can't be told from who had it before.
 */
static __always_inline bool may_hand_over(struct __sk_buff *skb,
					  const struct socket_state *state)
{
	if (skb->ifindex != LOOPBACK_INDEX || !state || !state->told)
		return false;
	return !TWO_WAYS || !is_worst_told(skb, state->told);
}

/*
 * Whether the other end of a stream may be what a listener that was told of accepted: that
 * has the listener's cgroup, and nothing else that shows whose it is. An end outside is no
 * child of a listener inside, but its own: of two that connect to each other, neither listens.
 */
static __always_inline bool is_accepted(u32 told, u16 receiver)
{
	/* With few branches, for the verifier. */
	return (told & ~(TOLD(RECEIVER_NOBODY) | TOLD_LEFT)) &&
	       ((receiver ^ RECEIVER_OUTSIDE) | (told & TOLD_LEFT));
}

/*
 * Whether a socket in the scope's cgroup has taken up the stream of a plain packet. Addresses
 * and ports lie in the packet as bpf_sk_lookup_tcp() wants them: it is asked where they are,
 * with nothing copied.
 */
static __always_inline bool is_taken_inside(struct __sk_buff *skb)
{
	const u8 *data = (const u8 *)(long)skb->data;
	const u8 *end = (const u8 *)(long)skb->data_end;
	struct bpf_sock *sk;
	bool taken;

	if (data + sizeof(struct inet6_header) + sizeof(u32) > end)
		return false;
	if (data[0] == 0x45)
		sk = bpf_sk_lookup_tcp(
			skb, (struct bpf_sock_tuple *)&((struct inet_header *)data)->source,
			sizeof(((struct bpf_sock_tuple *)0)->ipv4), THIS_NAMESPACE, 0);
	else
		sk = bpf_sk_lookup_tcp(
			skb, (struct bpf_sock_tuple *)&((struct inet6_header *)data)->source,
			sizeof(((struct bpf_sock_tuple *)0)->ipv6), THIS_NAMESPACE, 0);
	if (!sk)
		return false;
	taken = sk->state != STATE_LISTEN && is_in_scope(sk);
	bpf_sk_release(sk);
	return taken;
}

/* As is_told() would find: with one question, where the answer is the common one. */
static __always_inline bool is_told_at_once(struct __sk_buff *skb,
					    const struct socket_state *state)
{
	return TWO_WAYS && state && is_accepted(state->told, RECEIVER_SCOPE) &&
	       is_taken_inside(skb);
}

/*
 * Whether a segment goes elsewhere first, and none went there before: a source route can be
 * set at any time (IPV6_RTHDR, IP_OPTIONS), and its first hop is then the packet's target.
 * Who accepted a connection has no peer that was told of: any such segment of it counts.
 */
static __always_inline bool is_led_elsewhere(struct __sk_buff *skb,
					     const struct socket_state *state,
					     const struct packet *packet)
{
	struct peer_key key = {.cookie = bpf_get_socket_cookie(skb), .peer = packet->target};
	struct known_peer none = {};

	if (state && same_endpoint(&state->peer, &packet->target))
		return false;
	return !bpf_map_update_elem(MAP(peers), &key, &none, BPF_NOEXIST);
}

static __always_inline u32 kind_in_stream(struct __sk_buff *skb, struct bpf_sock *sk,
					  struct socket_state *state,
					  const struct packet *packet)
{
	/* Only a SYN begins something; the rest belongs to what began before. */
	if (!begins(packet->tcp_flags)) {
		if (!packet->is_plain && is_led_elsewhere(skb, state, packet))
			return KIND_PACKET;
		if (may_hand_over(skb, state))
			return KIND_AGAIN;
		if (!is_untold(state) || skb->len <= packet->payload)
			return NO_NEWS;
		state->peer = packet->target;
		return KIND_PACKET;
	}
	if (packet->tcp_flags & TCP_ACK)
		return sk && sk->state == STATE_LISTEN ? KIND_ACCEPT : NO_NEWS;
	if (is_first(state, packet))
		return KIND_CONNECT;
	if (!state || !same_endpoint(&state->peer, &packet->target))
		return KIND_PACKET;
	return is_worst_told(skb, state->told) ? NO_NEWS : KIND_AGAIN;
}

/*
 * Whether what was told covers a packet's receiver, too; from now on it does. Each
 * receiver is told of once, so that a socket which alternates between two fills no ring.
 */
static __always_inline bool is_covered(u32 *told, u32 kind, u32 receiver)
{
	u32 bit = TOLD(receiver & 31);

	if (kind != KIND_AGAIN)
		*told = bit;
	else if (TOLD_HARMLESS & bit)
		*told = (*told & ~TOLD_HARMLESS) | bit;
	else if (*told & bit)
		return true;
	else
		*told |= bit;
	return kind == KIND_AGAIN && (TOLD_HARMLESS & bit);
}

/* The same where it is kept: a stream's with its socket, else with the peer. */
static __always_inline bool is_told(struct socket_state *state, struct flow *flow)
{
	struct peer_key key = {.cookie = flow->cookie, .peer = *flow->peer};
	bool taken = flow->receiver & RECEIVER_TAKEN;
	u32 left = (flow->receiver & RECEIVER_LEFT) / RECEIVER_LEFT * TOLD_LEFT;
	struct known_peer *known;
	bool covered;

	flow->receiver &= RECEIVER_ALONE;
	if (flow->peer->protocol == PROTOCOL_TCP && flow->socket_type == SOCK_STREAM) {
		if (!state || flow->kind == KIND_PACKET)
			return false;
		/* The packet before was asked of the listener. */
		if (taken && is_accepted(state->told, flow->receiver))
			return true;
		covered = is_covered(&state->told, flow->kind, flow->receiver);
		/* Without a branch: of the scope's own alone. */
		state->told |= left & -((TOLD(RECEIVER_SCOPE) >> flow->receiver) & 1);
		return covered;
	}
	known = bpf_map_lookup_elem(MAP(peers), &key);
	return known && is_covered(&known->told, flow->kind, flow->receiver);
}

#endif
