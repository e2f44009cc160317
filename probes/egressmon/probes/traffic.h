/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Packets both ways: DNS, a count per flow, and the flows that no socket announced. */
#ifndef EGRESSMON_TRAFFIC_H
#define EGRESSMON_TRAFFIC_H

#include "dns.h"

/* The canary's loopback datagram proves both packet hooks. */
static __always_inline bool is_canary(const struct packet *packet)
{
	return packet->target.protocol == PROTOCOL_UDP && is_loopback(packet->target.address) &&
	       canary_flags(&packet->target);
}

/* Say that a packet goes to a peer that its socket has not announced (or not yet). */
static __always_inline void announce_packet(struct __sk_buff *skb, struct flow *flow)
{
	flow->cookie = bpf_get_socket_cookie(skb);
	if (flow->owner)
		flow->flags |= listener_flags(flow->owner->netns, flow->peer);
	emit_flow(flow);
}

static __always_inline void count_datagram(struct __sk_buff *skb, struct socket_state *state,
					   struct flow *flow)
{
	struct peer_key key = {.peer = *flow->peer};
	struct traffic first = {.packets = 1, .bytes = skb->len};
	struct traffic *known;

	if (state && same_endpoint(&state->peer, flow->peer)) {
		state->sent.packets++;
		state->sent.bytes += skb->len;
		if (state->flags & SOCKET_PENDING) {
			state->flags &= ~SOCKET_PENDING;
			flow->kind = KIND_CONNECT;
			announce_packet(skb, flow);
		}
		return;
	}
	key.cookie = bpf_get_socket_cookie(skb);
	known = bpf_map_lookup_elem(MAP(peers), &key);
	if (known) {
		known->packets++;
		known->bytes += skb->len;
		return;
	}
	bpf_map_update_elem(MAP(peers), &key, &first, BPF_ANY);
	announce_packet(skb, flow);
}

static __always_inline bool begins(u8 tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline void count_sent(struct __sk_buff *skb, struct socket_state *state)
{
	if (!state)
		return;
	state->sent.packets++;
	state->sent.bytes += skb->len;
}

static __always_inline void count_total(struct __sk_buff *skb)
{
	u32 first = 0;
	struct traffic *total = bpf_map_lookup_elem(MAP(sent), &first);

	if (!total)
		return;
	total->packets++;
	total->bytes += skb->len;
}

static __always_inline struct socket_state *state_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(MAP(sockets), sk, 0, 0) : NULL;
}

static __always_inline void count_stream(struct __sk_buff *skb, struct socket_state *state,
					 const struct packet *packet, struct flow *flow)
{
	count_sent(skb, state);
	/* Only a SYN begins something; the rest belongs to what began before. */
	if (!begins(packet->tcp_flags))
		return;
	if (!state || !same_endpoint(&state->peer, flow->peer))
		announce_packet(skb, flow);
}

static __always_inline int on_egress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct glance glance;
	struct socket_state *state;
	struct bpf_sock *sk = skb->sk;
	struct flow flow = {.peer = &packet.target, .kind = KIND_PACKET};

	count_total(skb);
	if (sk)
		sk = bpf_sk_fullsock(sk);
	state = state_of(sk);
	if (look(skb, &glance) && glance.protocol == PROTOCOL_TCP &&
	    glance.target != DNS_PORT && glance.source != DNS_PORT &&
	    !begins(glance.tcp_flags) && (!sk || sk->type == SOCK_STREAM)) {
		count_sent(skb, state);
		return 1;
	}
	if (!parse(skb, &packet))
		count(COUNT_LOST_PACKET, 1);
	if (sk)
		flow.socket_type = sk->type;
	flow.owner = state;
	if (is_canary(&packet)) {
		flow.flags = FLAG_CANARY;
		emit_flow(&flow);
		return 1;
	}
	/* A raw socket may write any source; only a real one receives there. */
	if (state && flow.socket_type == SOCK_DGRAM && packet.target.protocol == PROTOCOL_UDP &&
	    is_loopback(packet.target.address))
		add_listener(state, &packet.source);
	if (packet.target.protocol == PROTOCOL_TCP && (!sk || sk->type == SOCK_STREAM))
		count_stream(skb, state, &packet, &flow);
	else
		count_datagram(skb, state, &flow);
	if (is_dns(&packet.target) || is_dns(&packet.source) || packet.is_fragment)
		dns_egress(skb, 0);
	return 1;
}

static __always_inline int on_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct glance glance;
	struct socket_state *state;
	struct bpf_sock *sk;

	if (look(skb, &glance) && glance.protocol == PROTOCOL_TCP && glance.source != DNS_PORT)
		return 1;
	if (!parse(skb, &packet))
		return 1;
	if (packet.source.port != DNS_PORT && !is_canary(&packet))
		return 1;
	sk = skb->sk;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	state = state_of(sk);
	if (is_dns(&packet.source)) {
		dns_ingress(skb, 0);
	} else if (is_canary(&packet)) {
		struct flow flow = {.peer = &packet.target,
				    .owner = state,
				    .cookie = bpf_get_socket_cookie(skb),
				    .kind = KIND_PACKET,
				    .flags = FLAG_CANARY | FLAG_INGRESS};

		emit_flow(&flow);
	}
	return 1;
}

#endif
