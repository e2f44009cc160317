/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Packets both ways: DNS, a count per flow, and the flows that no socket announced. */
#ifndef EGRESSMON_TRAFFIC_H
#define EGRESSMON_TRAFFIC_H

#include "dns.bpf.h"
#include "receiver.bpf.h"

/* What a packet is: nothing new, or a KIND, and more. */
#define NO_NEWS 0
#define NEWS_KIND 0xff
#define NEWS_DNS 0x100
#define NEWS_CANARY 0x200
#define AGAIN 0x80
#define KIND_AGAIN 0xfe	 /* known, if the same receives it as before */
#define KIND_STREAM 0xfd /* what a packet of TCP is, was not looked at yet */

/* Receivers that are no news after another: nothing can have left by them. */
#define TOLD(receiver) (1u << (receiver))
#define TOLD_HARMLESS (TOLD(RECEIVER_SCOPE) | TOLD(RECEIVER_NOBODY))
#define TOLD_LEFT TOLD(RECEIVER_LEFT) /* beside these: by a listener outside the cgroup */

/* The canary's loopback datagram proves both packet hooks. */
static __always_inline bool is_canary(const struct packet *packet)
{
	return packet->target.protocol == PROTOCOL_UDP && is_loopback(packet->target.address) &&
	       canary_flags(&packet->target);
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

/* A SYN begins a connection, a SYN with an ACK takes one up. */
static __always_inline bool begins(u8 tcp_flags)
{
	return tcp_flags & TCP_SYN;
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
static __always_inline bool is_taking(struct __sk_buff *skb, const struct socket_state *state)
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
	struct settings *set = settings_set();
	struct bpf_sock *sk;
	bool taken;

	if (!set || !set->scope_id || data + sizeof(struct inet6_header) + sizeof(u32) > end)
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
	taken = sk->state != STATE_LISTEN &&
		ancestor_cgroup_id(sk, set->scope_level) == set->scope_id;
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

static __always_inline u32 count_stream(struct __sk_buff *skb, struct bpf_sock *sk,
					struct socket_state *state, const struct packet *packet)
{
	/* Only a SYN begins something; the rest belongs to what began before. */
	if (!begins(packet->tcp_flags)) {
		if (is_taking(skb, state))
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

	if (skb->ifindex != LOOPBACK_INDEX)
		return RECEIVER_REMOTE;
	if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6)
		return RECEIVER_NOBODY; /* the kernel itself answers */
	if (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP)
		return RECEIVER_ASK;
	/* Only UDP has connected sockets first; with port 0, TCP finds but listeners. */
	if (protocol == PROTOCOL_TCP && !accepted &&
	    (kind != KIND_AGAIN || begins(packet->tcp_flags)))
		port = 0;
	return socket_at(skb, &packet->source, &packet->target, port, accepted);
}

/*
 * Say what a packet that leaves is the first of. A subprogram that reads it again: few
 * packets are news, and the verifier meets one state here, not all that lead to it. What
 * the scope connects to itself is told of as that, and not as accepted, too.
 */
SUBPROGRAM int egress_news(struct __sk_buff *skb, u32 kind, u32 flags)
{
	struct packet packet = {};
	struct flow flow = {.peer = &packet.target, .kind = kind, .flags = flags};
	struct bpf_sock *sk = skb->sk;
	struct socket_state *state, *owner;

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
	FORGET(packet);
	if (TWO_WAYS && kind == KIND_STREAM) {
		kind = forget(skb, count_stream(skb, sk, state, &packet));
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
	} else if (!(flags & FLAG_CANARY) && forget(skb, is_told(state, &flow))) {
		return 0;
	}
	if (kind == KIND_AGAIN)
		kind = kind_again(state, &flow) | AGAIN;
	kind = forget(skb, kind);
	flow.is_again = (kind & AGAIN) && flow.socket_type != SOCK_STREAM;
	flow.kind = kind & ~AGAIN;
	emit_flow(&flow);
	return 0;
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
	u32 kind;

	count_total(skb);
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (look(skb, &glance) && glance.protocol == PROTOCOL_TCP &&
	    glance.target != DNS_PORT && glance.source != DNS_PORT &&
	    (!sk || sk->type == SOCK_STREAM)) {
		if (!begins(glance.tcp_flags) && !(flags && is_untold(state_of(sk))) &&
		    (!is_taking(skb, state_of(sk)) || is_told_at_once(skb, state_of(sk))))
			return NO_NEWS;
		if (TWO_WAYS)
			return KIND_STREAM;
	}
	state = state_of(sk);
	if (!parse(skb, &packet))
		count(COUNT_LOST_PACKET, 1);
	if (!flags && is_canary(&packet))
		return KIND_PACKET | NEWS_CANARY;
	if (packet.target.protocol == PROTOCOL_TCP && (!sk || sk->type == SOCK_STREAM))
		kind = count_stream(skb, sk, state, &packet);
	else
		kind = count_datagram(skb, state, &packet);
	kind = forget(skb, kind);
	if (is_dns(&packet.target) || is_dns(&packet.source) || packet.is_fragment)
		return kind | NEWS_DNS;
	return kind;
}

static __always_inline void on_egress(struct __sk_buff *skb, u32 flags)
{
	u32 news = forget(skb, egress_flow(skb, flags));

	if (news & NEWS_KIND)
		egress_news(skb, news & NEWS_KIND, news & NEWS_CANARY ? FLAG_CANARY : flags);
	if (news & NEWS_DNS)
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
	return is_plain_arrival(skb, true) ? 1 : observe_ingress(skb, true);
}

static __always_inline void on_root_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	if (is_plain_arrival(skb, false))
		return;
	sk = skb->sk;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (foreign_state(sk))
		observe_ingress(skb, false);
}

#endif
