/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Packets both ways: DNS, a count per flow, and the flows that no socket announced. */
#ifndef EGRESSMON_TRAFFIC_H
#define EGRESSMON_TRAFFIC_H

#include "delivery.bpf.h"
#include "dns.bpf.h"
#include "unasked.bpf.h"

/* The canary's loopback datagram proves both packet hooks. */
static __always_inline bool is_canary(const struct packet *packet)
{
	return packet->target.protocol == PROTOCOL_UDP && is_loopback(packet->target.address) &&
	       canary_flags(&packet->target);
}

/* Whether packet is the first to a peer that was named with what is sent. */
static __always_inline bool is_sent_now(struct socket_state *state, const struct packet *packet)
{
	if (!state || !(state->flags & SOCKET_SENDING) ||
	    !is_aimed(&state->aim, &packet->target))
		return false;
	state->flags &= ~SOCKET_SENDING;
	return true;
}

/*
 * By a map, and not by what is kept of the socket: threads that share one can connect it
 * and send at the same time, and one's first packet must not pass for the other's.
 */
static __always_inline u32 count_datagram(struct __sk_buff *skb, struct socket_state *state,
					  const struct packet *packet)
{
	struct peer_key key = {.cookie = bpf_get_socket_cookie(skb), .peer = packet->target};
	struct known_peer first = {.packets = 1, .bytes = skb->len};
	struct known_peer *known = bpf_map_lookup_elem(MAP(peers), &key);
	/* None yet: a sendmsg hook made the entry just now. */
	bool is_new = !known || known->packets == 0;

	if (known) {
		known->packets++;
		known->bytes += skb->len;
	} else {
		bpf_map_update_elem(MAP(peers), &key, &first, BPF_ANY);
	}
	if (is_first(state, packet))
		return KIND_CONNECT;
	if (!is_new)
		return known && is_worst_told(skb, known->told) ? NO_NEWS : KIND_AGAIN;
	return is_sent_now(state, packet) ? KIND_SENDMSG : KIND_PACKET;
}

/* Whether packet is one more answer to the same SYN. */
static __always_inline bool is_repeated(struct __sk_buff *skb, const struct packet *packet)
{
	struct peer_key key = {.cookie = bpf_get_socket_cookie(skb), .peer = packet->target};
	struct known_peer answer = {.packets = 1, .bytes = packet->sequence};
	struct known_peer *known = bpf_map_lookup_elem(MAP(peers), &key);

	if (known && known->bytes == answer.bytes)
		return true;
	bpf_map_update_elem(MAP(peers), &key, &answer, BPF_ANY);
	return false;
}

static __always_inline void count_total(struct __sk_buff *skb)
{
	WIDE_KEY(first, 0);
	struct traffic *total = bpf_map_lookup_elem(MAP(sent), &first);

	if (!total)
		return;
	total->packets++;
	total->bytes += skb->len;
}

/* As what a packet is told of whose peer was told of before. */
static __always_inline u32 kind_again(const struct socket_state *state, const struct flow *flow)
{
	if (state && same_endpoint(&state->peer, flow->peer))
		return KIND_CONNECT;
	return flow->socket_type == SOCK_DGRAM ? KIND_SENDMSG : KIND_PACKET;
}

/* Who receives a packet of that kind, or has sent what is accepted. */
static __always_inline u32 other_side(struct __sk_buff *skb, const struct packet *packet,
				      u32 kind)
{
	bool accepted = kind == KIND_ACCEPT;
	u16 protocol = packet->target.protocol;
	u16 port = packet->source.port;
	u32 receiver;

	if (skb->ifindex != LOOPBACK_INDEX)
		return RECEIVER_REMOTE;
	/*
	 * A fragment is for whoever is there as the last one arrives; whom the kernel's
	 * answer to ICMP is for, or an error that quotes what it likes, is a number in it;
	 * no look-up finds the sockets of other protocols.
	 */
	if (packet->is_fragment || (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP))
		return RECEIVER_UNKNOWN;
	/* With port 0, TCP finds but listeners: none else takes up what begins. */
	if (protocol == PROTOCOL_TCP && !accepted &&
	    (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		port = 0;
	/* Each of many receives it, and may be gone as the agent asks. */
	if (protocol == PROTOCOL_UDP && forget(skb, is_for_many(skb, packet->sent_to.address)))
		return RECEIVER_UNKNOWN;
	receiver = forget(skb, socket_at(skb, &packet->source, &packet->sent_to, port,
					 accepted ? SHARING_NONE : SHARING_LOOKED_UP));
	if (protocol != PROTOCOL_UDP || receiver != RECEIVER_NOBODY)
		return receiver;
	/*
	 * The kernel quotes it (ICMP) to whose socket is at its source: it is found by the
	 * loopback device, which has to be the source's.
	 */
	if (!is_loopback(packet->source.address))
		return RECEIVER_UNKNOWN;
	receiver = forget(skb, socket_at(skb, &packet->sent_to, &packet->source,
					 packet->sent_to.port, SHARING_GUESSED)) &
		   RECEIVER_ALONE;
	return receiver == RECEIVER_SCOPE ? RECEIVER_NOBODY : receiver;
}

/*
 * Say what a packet that leaves is the first of. A subprogram that reads it again: few
 * packets are news, and the verifier meets one state here, not all that lead to it. What
 * the scope connects to itself is told of as that, and not as accepted, too. Returns
 * whether its receiver may be another when it arrives.
 */
SUBPROGRAM int egress_news(struct __sk_buff *skb, u32 kind, u32 flags)
{
	struct packet packet = {};
	struct flow flow = {.peer = &packet.target, .kind = kind, .flags = flags};
	struct bpf_sock *sk = skb->sk;
	struct socket_state *state, *owner;
	u32 uncertain = false;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		flow.socket_type = sk->type;
	state = state_of(sk);
	owner = state;
	/* What was inherited has no owner until the scope aims it. */
	if (owner && !owner->tgid)
		owner = NULL;
	/* As a pointer: the compiler would go on asking for the number. */
	asm volatile("" : "+r"(owner));
	flow.owner = owner;
	if (!TWO_WAYS || !parse_plain(skb, &packet))
		parse(skb, &packet);
	as_announced(skb, sk, state, &packet);
	packet.target.spare = flags & FLAG_UNASKED;
	FORGET(packet);
	if (packet.is_translated)
		flow.sent_to = &packet.sent_to;
	if (TWO_WAYS && kind == KIND_STREAM) {
		kind = forget(skb, kind_in_stream(skb, sk, state, &packet));
		if (!kind)
			return 0;
		flow.kind = kind;
	}
	if (!(flags & FLAG_CANARY)) {
		flow.cookie = bpf_get_socket_cookie(skb);
		flow.receiver = forget(skb, other_side(skb, &packet, kind));
	}
	if (kind == KIND_ACCEPT) {
		flow.receiver &= RECEIVER_ALONE;
		if (flow.receiver == RECEIVER_SCOPE || is_repeated(skb, &packet))
			return 0;
		flow.local_port = packet.source.port;
	} else if (!(flags & FLAG_CANARY)) {
		uncertain = is_uncertain(skb, &packet, flow.receiver & RECEIVER_ALONE);
		if (uncertain)
			flow.receiver = forget(skb, certain(flow.receiver));
		if (forget(skb, is_told(state, &flow)))
			return uncertain;
	}
	if (kind == KIND_AGAIN)
		kind = kind_again(state, &flow) | AGAIN;
	kind = forget(skb, kind);
	flow.is_again = (kind & AGAIN) && flow.socket_type != SOCK_STREAM;
	flow.kind = kind & ~AGAIN;
	emit_flow(&flow);
	return uncertain;
}

/*
 * Whether a packet of a stream is nothing new, at a glance. What takes up a connection of
 * the scope to itself is told of as that, and not as accepted, too.
 */
static __always_inline bool is_no_news(struct __sk_buff *skb, const struct socket_state *state,
				       u32 flags, u8 tcp_flags)
{
	if (!begins(tcp_flags))
		return !(flags && is_untold(state)) &&
		       (!may_hand_over(skb, state) || is_told_at_once(skb, state));
	return TWO_WAYS && (tcp_flags & TCP_ACK) && skb->ifindex == LOOPBACK_INDEX &&
	       is_taken_inside(skb);
}

/*
 * What a packet that leaves is: news of a KIND, and whether it may be DNS. A subprogram,
 * like what reads it then: a program and all that it calls share 512 bytes of stack.
 */
SUBPROGRAM int egress_flow(struct __sk_buff *skb, u32 flags)
{
	struct packet packet = {};
	struct glance glance;
	struct bpf_sock *sk = skb->sk;
	struct socket_state *state;
	u32 kind, unasked = 0;

	count_total(skb);
	if (sk)
		sk = bpf_sk_fullsock(sk);
	state = state_of(sk);
	if (look(skb, &glance) && glance.protocol == PROTOCOL_TCP &&
	    glance.target != DNS_PORT && glance.source != DNS_PORT && !is_aimed_at_dns(state) &&
	    (!sk || sk->type == SOCK_STREAM)) {
		if (is_no_news(skb, state, flags, glance.tcp_flags))
			return NO_NEWS;
		if (TWO_WAYS)
			return KIND_STREAM;
	}
	if (!parse(skb, &packet))
		count(COUNT_LOST_PACKET, 1);
	if (!flags && is_canary(&packet))
		return KIND_PACKET | NEWS_CANARY;
	as_announced(skb, sk, state, &packet);
	if (sk && sk->type == SOCK_RAW && forget(skb, is_unasked(skb))) {
		unasked = NEWS_UNASKED;
		/* Told of by itself: what else goes there is no less news. */
		packet.target.spare = FLAG_UNASKED;
	}
	if (packet.target.protocol == PROTOCOL_TCP && (!sk || sk->type == SOCK_STREAM))
		kind = kind_in_stream(skb, sk, state, &packet);
	else
		kind = count_datagram(skb, state, &packet);
	kind = forget(skb, kind | unasked);
	if (is_dns(&packet.target) || is_dns(&packet.source) || packet.is_fragment)
		return kind | NEWS_DNS;
	return kind;
}

static __always_inline void tell_egress(struct __sk_buff *skb, u32 flags)
{
	u32 news = forget(skb, egress_flow(skb, flags));
	u32 told = news & NEWS_CANARY ? FLAG_CANARY : flags;

	told |= news & NEWS_UNASKED ? FLAG_UNASKED : 0;
	if ((news & NEWS_KIND) && forget(skb, egress_news(skb, news & NEWS_KIND, told)))
		expect(skb);
	if (news & NEWS_DNS)
		dns_egress(skb, flags);
}

/* Whether the scope uses a socket that was not made in its cgroup. */
static __always_inline bool is_foreign(struct bpf_sock *sk)
{
	struct socket_state *state = state_of(sk);

	return state && !(state->flags & SOCKET_INSIDE);
}

/* The whole machine's packets pass here: all but the scope's at once. */
static __always_inline void on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	bool inside;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	inside = is_in_scope(sk);
	if (inside || is_foreign(sk))
		tell_egress(skb, forget(skb, inside ? 0 : FLAG_FOREIGN));
}

static __always_inline bool is_canary_port(u16 port)
{
	struct settings *set = settings_set();

	return set && set->canary_armed && set->canary_port == port;
}

/* Whether a packet that arrives is none that is read, at a glance. */
static __always_inline bool is_plain_arrival(struct __sk_buff *skb, bool inside)
{
	struct glance glance;

	if (!look(skb, &glance) || glance.source == DNS_PORT)
		return false;
	return glance.protocol == PROTOCOL_TCP || !inside || !is_canary_port(glance.target);
}

static __always_inline void observe_ingress(struct __sk_buff *skb, bool inside)
{
	struct packet packet = {};
	struct flow flow = {.peer = &packet.target,
			    .kind = KIND_PACKET,
			    .flags = FLAG_CANARY | FLAG_INGRESS};

	if (!parse(skb, &packet))
		return;
	if (is_dns(&packet.source)) {
		dns_ingress(skb, inside ? 0 : FLAG_FOREIGN);
	} else if (inside && is_canary(&packet)) {
		flow.owner = packet_owner(skb);
		flow.cookie = bpf_get_socket_cookie(skb);
		emit_flow(&flow);
	}
}

static __always_inline void on_ingress(struct __sk_buff *skb)
{
	struct __sk_buff *arrived = skb;
	struct bpf_sock *sk = skb->sk;
	bool inside;

	if (is_plain_arrival(skb, true) && !is_awaited(skb))
		return;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	inside = is_in_scope(sk);
	/* BCC's compiler would compute the address of a field for both, which none may read. */
	asm volatile("" : "+r"(arrived));
	if (!inside)
		on_delivery(arrived, sk);
	if (!is_plain_arrival(skb, inside) && (inside || is_foreign(sk)))
		observe_ingress(skb, inside);
}

#endif
