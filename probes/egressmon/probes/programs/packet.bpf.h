/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What a packet says of itself. */
#ifndef EGRESSMON_PACKET_H
#define EGRESSMON_PACKET_H

#include "flow.bpf.h"

#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define MAX_EXTENSIONS 8

struct packet {
	struct endpoint source;
	struct endpoint target;	 /* after as_announced(): the peer that the socket was given */
	struct endpoint sent_to; /* where it really goes */
	u32 payload;		 /* offset of what the transport carries */
	u32 sequence;
	u32 is_fragment; /* whose ports may stand in another packet */
	u8 tcp_flags;
	u8 is_plain; /* without options or extensions, which can lead elsewhere first */
	u8 is_translated;
};

/* RFC 791 */
struct inet_header {
	u8 start[6];
	u8 fragment[2];
	u8 life;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 target;
};

/* RFC 8200 */
struct inet6_header {
	u8 start[6];
	u8 next;
	u8 hops;
	u32 source[4];
	u32 target[4];
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

	if (data + sizeof(struct inet6_header) > end)
		return false;
	if (data[0] == 0x45) /* version 4, no options */
		return glance_at(data + sizeof(struct inet_header), end, data[9], glance);
	if (data[0] >> 4 == 6)
		return glance_at(data + sizeof(struct inet6_header), end, data[6], glance);
	return false;
}

/*
 * The value, with all that the verifier concluded of it forgotten: it would
 * follow each one by itself (1,000,000 instructions for 16 chunks), and meets
 * them again in one state once they went through the packet's control block.
 */
static __always_inline u32 forget(struct __sk_buff *skb, u32 value)
{
#ifdef EGRESSMON_BCC
	u64 known = value;

	/* In assembly, as BCC's compiler would compute the field's address first. */
	asm volatile("*(u32 *)(%[skb] + %[cb]) = %[known]\n\t"
		     "%[known] = *(u32 *)(%[skb] + %[cb])"
		     : [known] "+r"(known)
		     : [skb] "r"(skb), [cb] "i"(__builtin_offsetof(struct __sk_buff, cb))
		     : "memory");
	return known;
#else
	/* In C: the assembly above costs Linux 6.1's verifier too much here. */
	*(volatile u32 *)&skb->cb[0] = value;
	return *(volatile u32 *)&skb->cb[0];
#endif
}

/* What skip_extensions() returns. */
#define TRANSPORT 0xff
#define IS_FRAGMENT 0x100
#define OFFSET_SHIFT 16

/* Step over IPv6 extension headers, of which next is the first. */
SUBPROGRAM int skip_extensions(struct __sk_buff *skb, u32 next)
{
	u32 offset = sizeof(struct inet6_header);
	u32 is_fragment = 0;
	u8 header[2];

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
			break;
		is_fragment = forget(skb, is_fragment | (next == 44 ? IS_FRAGMENT : 0));
		if (next == 44)
			offset += 8;
		else if (next == 51)
			offset += (header[1] + 2) * 4;
		else
			offset += (header[1] + 1) * 8;
		next = forget(skb, header[0]);
		offset = forget(skb, offset);
	}
	return forget(skb, offset << OFFSET_SHIFT | is_fragment | next);
}

static __always_inline u32 parse_network(struct __sk_buff *skb, struct packet *packet)
{
	u64 first = 0; /* WIDE_KEY() says why */
	u32 offset;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return 0;
	if (first >> 4 == 4) {
		struct inet_header inet;

		if (bpf_skb_load_bytes(skb, 0, &inet, sizeof(inet)))
			return 0;
		set_inet(packet->source.address, inet.source);
		set_inet(packet->target.address, inet.target);
		packet->target.protocol = inet.protocol;
		packet->is_fragment = (inet.fragment[0] & 0x3f) | inet.fragment[1];
		packet->is_plain = first == 0x45;
		offset = (first & 15) * 4;
	} else {
		struct inet6_header inet6;
		u32 found;

		if (bpf_skb_load_bytes(skb, 0, &inet6, sizeof(inet6)))
			return 0;
		__builtin_memcpy(packet->source.address, inet6.source, ADDRESS_SIZE);
		__builtin_memcpy(packet->target.address, inet6.target, ADDRESS_SIZE);
		found = skip_extensions(skb, inet6.next);
		packet->target.protocol = found & TRANSPORT;
		packet->is_fragment = found & IS_FRAGMENT;
		packet->is_plain = inet6.next == packet->target.protocol;
		offset = found >> OFFSET_SHIFT;
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

/*
 * Read a plain packet of TCP in place, at a third of what it takes to have it copied.
 * False for whatever is not plain, as in look(), and for fragments.
 */
static __always_inline bool parse_plain(struct __sk_buff *skb, struct packet *packet)
{
	const u8 *data = (const u8 *)(long)skb->data;
	const u8 *end = (const u8 *)(long)skb->data_end;
	const struct inet_header *inet = (const void *)data;
	const struct tcp_start *start = (const void *)(inet + 1);

	if ((const u8 *)(start + 1) > end || data[0] != 0x45 ||
	    inet->protocol != PROTOCOL_TCP || (inet->fragment[0] & 0x3f) | inet->fragment[1])
		return false;
	set_inet(packet->source.address, inet->source);
	set_inet(packet->target.address, inet->target);
	packet->source.protocol = packet->target.protocol = PROTOCOL_TCP;
	packet->source.port = bpf_ntohs(start->source);
	packet->target.port = bpf_ntohs(start->target);
	packet->tcp_flags = start->flags;
	packet->is_plain = 1;
	packet->sequence = bpf_ntohl(start->sequence) + !!(start->flags & TCP_SYN);
	packet->payload = sizeof(*inet) + (start->offset >> 4) * 4;
	return true;
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

#endif
