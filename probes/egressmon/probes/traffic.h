/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Packets both ways: DNS, a count per flow, and the flows that no socket announced. */
#ifndef EGRESSMON_TRAFFIC_H
#define EGRESSMON_TRAFFIC_H

#include "dns.h"
#include "receiver.h"

/* The canary's loopback datagram proves both packet hooks. */
static __always_inline bool is_canary(const struct packet *packet)
{
	return packet->target.protocol == PROTOCOL_UDP && is_loopback(packet->target.address) &&
	       canary_flags(&packet->target);
}

/* Say that a packet goes to a peer that its socket announced now, or not at all. */
static __always_inline void announce_packet(struct __sk_buff *skb, const struct packet *packet,
					    struct flow *flow)
{
	flow->cookie = bpf_get_socket_cookie(skb);
	flow->receiver = receiver_of(skb, &packet->source, &packet->target);
	emit_flow(flow);
}

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

/* The same where a peer was named with what is sent. */
static __always_inline bool is_sent_now(struct socket_state *state, const struct packet *packet)
{
	if (!state || !(state->flags & SOCKET_SENDING) ||
	    !is_aimed(&state->aim, &packet->target))
		return false;
	state->flags &= ~SOCKET_SENDING;
	return true;
}

static __always_inline void count_sent(struct __sk_buff *skb, struct socket_state *state)
{
	if (!state)
		return;
	state->sent.packets++;
	state->sent.bytes += skb->len;
}

/*
 * By a map, and not by what is kept of the socket: threads that share one can connect it
 * and send at the same time, and one's first packet must not pass for the other's.
 */
static __always_inline void count_datagram(struct __sk_buff *skb, struct socket_state *state,
					   const struct packet *packet, struct flow *flow)
{
	struct peer_key key = {.cookie = bpf_get_socket_cookie(skb), .peer = packet->target};
	struct traffic first = {.packets = 1, .bytes = skb->len};
	struct traffic *known = bpf_map_lookup_elem(MAP(peers), &key);
	/* None yet: a sendmsg hook made the entry just now. */
	bool is_new = !known || known->packets == 0;

	if (known) {
		known->packets++;
		known->bytes += skb->len;
	} else {
		bpf_map_update_elem(MAP(peers), &key, &first, BPF_ANY);
	}
	count_sent(skb, state);
	if (is_first(state, packet)) {
		is_new = true;
		flow->kind = KIND_CONNECT;
	} else if (is_new && is_sent_now(state, packet)) {
		flow->kind = KIND_SENDMSG;
	}
	if (is_new)
		announce_packet(skb, packet, flow);
}

/* A SYN begins a connection, a SYN with an ACK takes one up. */
static __always_inline bool begins(u8 tcp_flags)
{
	return tcp_flags & TCP_SYN;
}

/* Whether packet is one more answer to the same SYN. */
static __always_inline bool is_repeated(struct __sk_buff *skb, const struct packet *packet)
{
	struct peer_key key = {.cookie = bpf_get_socket_cookie(skb), .peer = packet->target};
	struct traffic answer = {.packets = 1, .bytes = packet->sequence};
	struct traffic *known = bpf_map_lookup_elem(MAP(peers), &key);

	if (known && known->bytes == answer.bytes)
		return true;
	bpf_map_update_elem(MAP(peers), &key, &answer, BPF_ANY);
	return false;
}

/*
 * A listener answers who connects to it, from this machine or another one. What the
 * scope connects to itself is told of as that.
 */
static __always_inline void accept(struct __sk_buff *skb, struct bpf_sock *sk,
				   const struct packet *packet, struct flow *flow)
{
	if (!sk || sk->state != STATE_LISTEN)
		return;
	flow->receiver = RECEIVER_REMOTE;
	if (skb->ifindex == LOOPBACK_INDEX) {
		flow->receiver = socket_at(skb, &packet->source, &packet->target,
					   packet->source.port, true);
		if (flow->receiver == RECEIVER_SCOPE)
			return;
	}
	if (is_repeated(skb, packet))
		return;
	flow->kind = KIND_ACCEPT;
	flow->local_port = packet->source.port;
	flow->cookie = bpf_get_socket_cookie(skb);
	emit_flow(flow);
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

/* Whether a socket was connected before the scope got it: all others have a peer. */
static __always_inline bool is_untold(const struct socket_state *state)
{
	return state && !(state->flags & (SOCKET_INSIDE | SOCKET_LINEAGE)) &&
	       !state->peer.protocol;
}

static __always_inline void count_stream(struct __sk_buff *skb, struct bpf_sock *sk,
					 struct socket_state *state,
					 const struct packet *packet, struct flow *flow)
{
	count_sent(skb, state);
	/* Only a SYN begins something; the rest belongs to what began before. */
	if (!begins(packet->tcp_flags)) {
		if (is_untold(state) && skb->len > packet->payload) {
			state->peer = packet->target;
			announce_packet(skb, packet, flow);
		}
		return;
	}
	if (packet->tcp_flags & TCP_ACK) {
		accept(skb, sk, packet, flow);
		return;
	}
	if (is_first(state, packet))
		flow->kind = KIND_CONNECT;
	else if (state && same_endpoint(&state->peer, flow->peer))
		return;
	announce_packet(skb, packet, flow);
}

/*
 * Whether a packet that leaves may be DNS, once it is counted. A subprogram, like what
 * reads it then: a program and all that it calls share 512 bytes of stack.
 */
SUBPROGRAM int egress_flow(struct __sk_buff *skb, u32 flags)
{
	struct packet packet = {};
	struct socket_state *owner;
	struct glance glance;
	struct flow flow = {.peer = &packet.target, .kind = KIND_PACKET, .flags = flags};
	struct bpf_sock *sk = skb->sk;
	struct socket_state *state;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	state = state_of(sk);
	count_total(skb);
	if (look(skb, &glance) && glance.protocol == PROTOCOL_TCP &&
	    glance.target != DNS_PORT && glance.source != DNS_PORT &&
	    !begins(glance.tcp_flags) && (!sk || sk->type == SOCK_STREAM) &&
	    !(flags && is_untold(state))) {
		count_sent(skb, state);
		return 0;
	}
	if (!parse(skb, &packet))
		count(COUNT_LOST_PACKET, 1);
	if (sk)
		flow.socket_type = sk->type;
	/* What was inherited has no owner until the scope aims it. */
	owner = state && state->tgid ? state : NULL;
	/* As a pointer: the compiler would go on asking for the number. */
	asm volatile("" : "+r"(owner));
	flow.owner = owner;
	if (!flags && is_canary(&packet)) {
		flow.flags = FLAG_CANARY;
		emit_flow(&flow);
		return 0;
	}
	if (packet.target.protocol == PROTOCOL_TCP && (!sk || sk->type == SOCK_STREAM))
		count_stream(skb, sk, state, &packet, &flow);
	else
		count_datagram(skb, state, &packet, &flow);
	return is_dns(&packet.target) || is_dns(&packet.source) || packet.is_fragment;
}

static __always_inline void on_egress(struct __sk_buff *skb, u32 flags)
{
	if (egress_flow(skb, flags))
		dns_egress(skb, flags);
}

/* The whole machine's packets pass here: all but those of foreign sockets at once. */
static __always_inline struct socket_state *foreign_state(struct bpf_sock *sk)
{
	struct socket_state *state = state_of(sk);

	return state && !(state->flags & SOCKET_INSIDE) ? state : NULL;
}

static __always_inline void on_root_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (foreign_state(sk))
		on_egress(skb, FLAG_FOREIGN);
}

/* Whether a packet that arrives is none that is read, at a glance. */
static __always_inline bool is_plain_arrival(struct __sk_buff *skb)
{
	struct glance glance;

	return look(skb, &glance) && glance.protocol == PROTOCOL_TCP &&
	       glance.source != DNS_PORT;
}

static __always_inline int observe_ingress(struct __sk_buff *skb, bool inside)
{
	struct packet packet = {};
	struct flow flow = {.peer = &packet.target,
			    .kind = KIND_PACKET,
			    .flags = FLAG_CANARY | FLAG_INGRESS};

	if (!parse(skb, &packet))
		return 1;
	if (is_dns(&packet.source)) {
		dns_ingress(skb, inside ? 0 : FLAG_FOREIGN);
	} else if (inside && is_canary(&packet)) {
		flow.owner = packet_owner(skb);
		flow.cookie = bpf_get_socket_cookie(skb);
		emit_flow(&flow);
	}
	return 1;
}

static __always_inline int on_ingress(struct __sk_buff *skb)
{
	return is_plain_arrival(skb) ? 1 : observe_ingress(skb, true);
}

static __always_inline void on_root_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	if (is_plain_arrival(skb))
		return;
	sk = skb->sk;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (foreign_state(sk))
		observe_ingress(skb, false);
}

#endif
