/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Packets: DNS both ways, a count per flow, and the flows that no socket announced. */
#ifndef EGRESSMON_PACKET_H
#define EGRESSMON_PACKET_H

#include "flow.h"

#define DNS_PORT 53
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define MAX_CHUNKS 16
#define MAX_EXTENSIONS 8

struct packet {
	struct endpoint source;
	struct endpoint target;
	u32 payload; /* offset of what the transport carries */
	u32 sequence;
	u8 tcp_flags;
};

struct tcp_start {
	__be16 source;
	__be16 target;
	__be32 sequence;
	__be32 acknowledged;
	u8 offset;
	u8 flags;
};

/* The ports of a plain packet, read in place: enough to let most pass at once. */
struct glance {
	u16 source;
	u16 target;
	u8 protocol;
	u8 tcp_flags;
};

static __always_inline bool glance_at(const u8 *transport, const u8 *end, u8 protocol,
				      struct glance *glance)
{
	if (transport + sizeof(struct tcp_start) > end)
		return false;
	glance->protocol = protocol;
	glance->source = bpf_ntohs(*(const __be16 *)transport);
	glance->target = bpf_ntohs(*(const __be16 *)(transport + 2));
	glance->tcp_flags = transport[13];
	return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP;
}

/* False for whatever is not plain: options, extensions, other protocols, short. */
static __always_inline bool look(struct __sk_buff *skb, struct glance *glance)
{
	const u8 *data = (const u8 *)(long)skb->data;
	const u8 *end = (const u8 *)(long)skb->data_end;

	if (data + sizeof(struct ipv6hdr) > end)
		return false;
	if (data[0] == 0x45) /* version 4, no options */
		return glance_at(data + sizeof(struct iphdr), end, data[9], glance);
	if (data[0] >> 4 == 6)
		return glance_at(data + sizeof(struct ipv6hdr), end, data[6], glance);
	return false;
}

/*
 * The value, with all that the verifier concluded of it forgotten: it would
 * follow each one by itself (1,000,000 instructions for 16 chunks), and meets
 * them again in one state once they went through the packet's control block.
 */
static __always_inline u32 forget(struct __sk_buff *skb, u32 value)
{
	*(volatile u32 *)&skb->cb[0] = value;
	return *(volatile u32 *)&skb->cb[0];
}

/* Step over IPv6 extension headers; returns the transport protocol. */
static __always_inline u8 skip_extensions(struct __sk_buff *skb, u8 next, u32 *offset)
{
	u8 header[2];

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, *offset, header, sizeof(header)))
			break;
		if (next == 44)
			*offset += 8;
		else if (next == 51)
			*offset += (header[1] + 2) * 4;
		else
			*offset += (header[1] + 1) * 8;
		next = forget(skb, header[0]);
		*offset = forget(skb, *offset);
	}
	return next;
}

static __always_inline u32 parse_network(struct __sk_buff *skb, struct packet *packet)
{
	u32 offset;
	u8 first;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return 0;
	if (first >> 4 == 4) {
		struct iphdr inet;

		if (bpf_skb_load_bytes(skb, 0, &inet, sizeof(inet)))
			return 0;
		set_inet(packet->source.address, inet.saddr);
		set_inet(packet->target.address, inet.daddr);
		packet->target.protocol = inet.protocol;
		offset = (first & 15) * 4;
	} else {
		struct ipv6hdr inet6;

		if (bpf_skb_load_bytes(skb, 0, &inet6, sizeof(inet6)))
			return 0;
		__builtin_memcpy(packet->source.address, &inet6.saddr, ADDRESS_SIZE);
		__builtin_memcpy(packet->target.address, &inet6.daddr, ADDRESS_SIZE);
		offset = sizeof(inet6);
		packet->target.protocol = skip_extensions(skb, inet6.nexthdr, &offset);
	}
	packet->source.protocol = packet->target.protocol;
	return offset;
}

static __always_inline bool has_ports(u16 protocol)
{
	/* TCP, UDP, UDP-Lite, SCTP, DCCP: all begin with source and target port. */
	return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == 136 ||
	       protocol == 132 || protocol == 33;
}

static __always_inline bool parse(struct __sk_buff *skb, struct packet *packet)
{
	struct tcp_start start = {};
	u32 offset = forget(skb, parse_network(skb, packet));

	if (!offset)
		return false;
	if (!has_ports(packet->target.protocol))
		return true;
	if (packet->target.protocol == PROTOCOL_TCP) {
		if (bpf_skb_load_bytes(skb, offset, &start, sizeof(start)))
			return false;
		packet->tcp_flags = start.flags;
		packet->sequence = bpf_ntohl(start.sequence);
		if (start.flags & TCP_SYN)
			packet->sequence++;
		packet->payload = offset + (start.offset >> 4) * 4;
	} else {
		if (bpf_skb_load_bytes(skb, offset, &start, 4))
			return false;
		packet->payload = offset + 8;
	}
	packet->source.port = bpf_ntohs(start.source);
	packet->target.port = bpf_ntohs(start.target);
	return true;
}

struct dns_capture {
	const struct packet *packet;
	const struct endpoint *server;
	const struct socket_state *owner;
	u32 flags;
	u16 client_port;
};

static __always_inline void fill_dns(struct __sk_buff *skb, struct dns_event *event,
				     const struct dns_capture *capture, u32 skipped, u32 size)
{
	const struct socket_state *owner = capture->owner;

	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_DNS;
	event->cookie = bpf_get_socket_cookie(skb);
	event->flags = capture->flags | (owner ? 0 : FLAG_OWNERLESS);
	event->sequence = capture->packet->sequence + skipped;
	event->segment_size = skb->gso_size;
	event->payload_size = size;
	event->total_size = skb->len - capture->packet->payload;
	event->protocol = capture->server->protocol;
	event->port = capture->client_port;
	event->tgid = owner ? owner->tgid : 0;
	event->netns = owner ? owner->netns : 0;
	event->tid = owner ? owner->tid : 0;
	event->uid = owner ? owner->uid : 0;
	__builtin_memcpy(event->address, capture->server->address, ADDRESS_SIZE);
	if (owner)
		__builtin_memcpy(event->comm, owner->comm, COMM_SIZE);
	else
		__builtin_memset(event->comm, 0, COMM_SIZE);
}

/* Copy size bytes (1 to room, room a power of two) from skipped on. */
#define EMIT_CHUNK(skb, capture, skipped, size, room)                                          \
	({                                                                                     \
		struct dns_event *event =                                                      \
			bpf_ringbuf_reserve(&events, sizeof(*event) + (room), 0);              \
		u32 bounded = (size)-1;                                                        \
		int failed = 1;                                                                \
                                                                                               \
		if (event) {                                                                   \
			asm volatile("" : "+r"(bounded));                                      \
			bounded = (bounded & ((room)-1)) + 1;                                  \
			fill_dns(skb, event, capture, skipped, bounded);                       \
			failed = bpf_skb_load_bytes(skb,                                       \
						    (capture)->packet->payload + (skipped),    \
						    event + 1, bounded);                       \
			if (failed)                                                            \
				bpf_ringbuf_discard(event, 0);                                 \
			else                                                                   \
				submit(event);                                                 \
		}                                                                              \
		if (failed)                                                                    \
			count(COUNT_LOST_DNS, 1);                                              \
		failed;                                                                        \
	})

static __always_inline void emit_dns(struct __sk_buff *skb, const struct dns_capture *capture)
{
	u32 total = skb->len;
	u32 skipped = 0;

	if (total <= capture->packet->payload)
		return;
	total -= capture->packet->payload;
	if (total <= PAYLOAD_SMALL) {
		EMIT_CHUNK(skb, capture, 0, total, PAYLOAD_SMALL);
		return;
	}
	for (int i = 0; i < MAX_CHUNKS && skipped < total; i++) {
		u32 rest = total - skipped;

		if (rest > PAYLOAD_LARGE)
			rest = PAYLOAD_LARGE;
		if (EMIT_CHUNK(skb, capture, skipped, rest, PAYLOAD_LARGE))
			return;
		skipped = forget(skb, skipped + rest);
	}
}

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
	struct traffic *sent;

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
	sent = bpf_map_lookup_elem(&peers, &key);
	if (sent) {
		sent->packets++;
		sent->bytes += skb->len;
		return;
	}
	bpf_map_update_elem(&peers, &key, &first, BPF_ANY);
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

static __always_inline struct socket_state *state_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : NULL;
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

	count(COUNT_PACKETS, 1);
	count(COUNT_BYTES, skb->len);
	if (sk)
		sk = bpf_sk_fullsock(sk);
	state = state_of(sk);
	if (look(skb, &glance) && glance.protocol == PROTOCOL_TCP &&
	    glance.target != DNS_PORT && !begins(glance.tcp_flags) &&
	    (!sk || sk->type == SOCK_STREAM)) {
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
	if (state && packet.target.protocol == PROTOCOL_UDP &&
	    is_loopback(packet.target.address))
		add_listener(state, &packet.source);
	if (packet.target.protocol == PROTOCOL_TCP && (!sk || sk->type == SOCK_STREAM))
		count_stream(skb, state, &packet, &flow);
	else
		count_datagram(skb, state, &flow);
	if (packet.payload && packet.target.port == DNS_PORT) {
		struct dns_capture capture = {.packet = &packet,
					      .server = &packet.target,
					      .owner = state,
					      .client_port = packet.source.port};

		emit_dns(skb, &capture);
	}
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
	if (packet.source.port == DNS_PORT && packet.payload) {
		struct dns_capture capture = {.packet = &packet,
					      .server = &packet.source,
					      .owner = state,
					      .flags = FLAG_INGRESS,
					      .client_port = packet.target.port};

		emit_dns(skb, &capture);
	} else {
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
