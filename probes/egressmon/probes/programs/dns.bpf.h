/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Copies DNS payloads into the ring; the agent parses them. */
#ifndef EGRESSMON_DNS_H
#define EGRESSMON_DNS_H

#include "answerer.bpf.h"
#include "quota.bpf.h"

#define MAX_CHUNKS 16

/*
 * include/linux/skbuff.h. Since Linux 5.12, SHARED_BITS are in the first byte of struct
 * skb_shared_info, which was zero before. Until then, SHARED_BITS_5_11 were in tx_flags,
 * where these bits are now about time stamps, which no DNS client asks for.
 */
#define SHARED_BITS 0x03      /* SKBFL_ZEROCOPY_ENABLE, SKBFL_SHARED_FRAG */
#define SHARED_BITS_5_11 0x28 /* SKBTX_DEV_ZEROCOPY, SKBTX_SHARED_FRAG */

/* Several arguments packed in one number, as a subprogram can have five in all. */
#define HOW(flags, protocol, traits, port)                                                     \
	((u64)(flags) << 48 | (u64)(protocol) << 32 | (u64)(traits) << 16 | (port))

static __always_inline void fill_owner(struct dns_event *event,
				       const struct socket_state *owner)
{
	/* An inherited socket has no owner until the scope gives it a peer. */
	if (owner && !owner->tgid)
		owner = NULL;
	event->flags |= owner ? 0 : FLAG_OWNERLESS;
	if (owner && (owner->flags & SOCKET_STACK_LOST))
		event->flags |= FLAG_STACK_LOST;
	if (owner && (owner->flags & SOCKET_FRAMES_LOST))
		event->flags |= FLAG_FRAMES_LOST;
	event->stack_ns = owner ? owner->stack_ns : 0;
	event->frames_ns = owner ? owner->frames_ns : 0;
	event->start_ns = owner ? owner->start_ns : 0;
	event->exec_id = owner ? owner->exec_id : 0;
	event->tgid = owner ? owner->tgid : 0;
	event->netns = owner ? owner->netns : 0;
	event->cgroup = owner ? owner->cgroup : 0;
	event->tid = owner ? owner->tid : 0;
	event->uid = owner ? owner->uid : 0;
	if (owner)
		__builtin_memcpy(event->comm, owner->comm, COMM_SIZE);
	else
		__builtin_memset(event->comm, 0, COMM_SIZE);
}

/* With few variables and branches, which would multiply the verifier's paths. */
static __always_inline void fill_server(struct __sk_buff *skb, struct dns_event *event)
{
	u32 is_source = event->flags / FLAG_INGRESS | event->traits / DNS_SCOPE_ANSWERS;
	u32 is_target = ~is_source & 1;

	bpf_skb_load_bytes(skb, 0, event->address, 1);
	if (event->address[0] >> 4 == 4) {
		set_inet((u32 *)event->address, 0);
		bpf_skb_load_bytes(skb, 12 + 4 * is_target, event->address + 12, 4);
	} else {
		bpf_skb_load_bytes(skb, 8 + 16 * is_target, event->address, ADDRESS_SIZE);
	}
}

static __always_inline void fill_dns(struct __sk_buff *skb, struct dns_event *event, u64 how,
				     u32 sequence, u32 size, u32 total)
{
	struct socket_state *owner;

	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_DNS;
	event->cookie = bpf_get_socket_cookie(skb);
	event->flags = how >> 48;
	event->sequence = sequence;
	event->segment_size = skb->gso_size;
	event->payload_size = size;
	event->total_size = total;
	event->protocol = how >> 32;
	event->port = how;
	event->traits = (how >> 16) & 0xffff;
	fill_server(skb, event);
	owner = packet_owner(skb);
	if (owner && (event->traits & DNS_TRANSLATED))
		__builtin_memcpy(event->address, owner->first.address, ADDRESS_SIZE);
	fill_owner(event, owner);
}

/* Emit `size` bytes of the payload from `skipped` on: 1 to `room`, a power of two. */
#define EMIT_CHUNK(skb, how, payload, skipped, sequence, size, total, room)                    \
	({                                                                                     \
		struct dns_event *event =                                                      \
			bpf_ringbuf_reserve(MAP(lookups), sizeof(*event) + (room), 0);         \
		u32 bounded = (size)-1;                                                        \
		int failed = 1;                                                                \
                                                                                               \
		if (event) {                                                                   \
			asm volatile("" : "+r"(bounded));                                      \
			bounded = (bounded & ((room)-1)) + 1;                                  \
			fill_dns(skb, event, how, (sequence) + (skipped), bounded, total);     \
			failed = bpf_skb_load_bytes(skb, (payload) + (skipped), event + 1,     \
						    bounded);                                  \
			if (failed)                                                            \
				bpf_ringbuf_discard(event, 0);                                 \
			else                                                                   \
				submit_lookup(event);                                          \
		}                                                                              \
		if (failed)                                                                    \
			count(COUNT_LOST_DNS, 1);                                              \
		failed;                                                                        \
	})

/* Emit an event without payload, for the traits of a packet. */
SUBPROGRAM int dns_mark(struct __sk_buff *skb, u32 sequence, u64 how)
{
	struct dns_event *event = bpf_ringbuf_reserve(MAP(lookups), sizeof(*event), 0);

	if (!event) {
		count(COUNT_LOST_DNS, 1);
		return 1;
	}
	fill_dns(skb, event, how, sequence, 0, 0);
	submit_lookup(event);
	return 0;
}

/*
 * A socket's message exceeds the quota: emit how many bytes were not read, if they are twice
 * as many as when that was last emitted.
 */
SUBPROGRAM int dns_unread(struct __sk_buff *skb, u64 how)
{
	struct socket_state *owner = packet_owner(skb);
	struct dns_event *event;

	count(COUNT_LOST_UNREAD, 1);
	if (!owner || owner->dns_unread < 2 * owner->dns_told)
		return 0;
	event = bpf_ringbuf_reserve(MAP(lookups), sizeof(*event), 0);
	if (!event)
		return 0; /* the next message tries again */
	fill_dns(skb, event, how, 0, 0, 0);
	event->flags |= FLAG_UNREAD;
	event->total_size = owner->dns_unread > 0xffffffff ? 0xffffffff : owner->dns_unread;
	owner->dns_told = owner->dns_unread;
	submit_lookup(event);
	return 0;
}

static __always_inline u32 carried(struct __sk_buff *skb, u32 payload)
{
	return skb->len > payload ? skb->len - payload : 0;
}

/* Emit the chunk of the payload that begins at `skipped`. */
SUBPROGRAM int dns_chunk(struct __sk_buff *skb, u32 payload, u32 skipped, u32 sequence, u64 how)
{
	u32 total = carried(skb, payload);
	u32 rest = total - skipped;

	if (rest <= PAYLOAD_SMALL)
		return EMIT_CHUNK(skb, how, payload, skipped, sequence, rest, total,
				  PAYLOAD_SMALL);
	if (rest > PAYLOAD_LARGE)
		rest = PAYLOAD_LARGE;
	return EMIT_CHUNK(skb, how, payload, skipped, sequence, rest, total, PAYLOAD_LARGE);
}

static __always_inline void emit_dns(struct __sk_buff *skb, const struct packet *packet,
				     u64 how)
{
	/* So that the verifier merges the paths through the parsing of headers. */
	u32 payload = forget(skb, packet->payload);
	u32 sequence = forget(skb, packet->sequence);
	u32 total = forget(skb, carried(skb, payload));
	u32 skipped = 0;

	how = (u64)forget(skb, how >> 32) << 32 | forget(skb, how);
	if (!total) {
		if (how & HOW(0, 0, DNS_BEGIN | DNS_RAW, 0))
			dns_mark(skb, sequence, how);
		return;
	}
	if (!may_read(packet_owner(skb), total)) {
		dns_unread(skb, how);
		return;
	}
	for (int i = 0; i < MAX_CHUNKS; i++) {
		if (dns_chunk(skb, payload, skipped, sequence, how))
			return;
		skipped = forget(skb, skipped + PAYLOAD_LARGE);
		if (skipped >= total)
			return;
		how &= ~HOW(0, 0, DNS_BEGIN, 0);
	}
	count(COUNT_LOST_DNS,
	      1); /* only BIG TCP (IFLA_GSO_MAX_SIZE) has packets above 64 KiB */
}

static __always_inline bool is_dns(const struct endpoint *server)
{
	return server->port == DNS_PORT &&
	       (server->protocol == PROTOCOL_TCP || server->protocol == PROTOCOL_UDP);
}

static __always_inline u32 traits_of(struct __sk_buff *skb, const struct packet *packet,
				     const struct endpoint *server)
{
	u32 traits = 0;

	if (server->protocol == PROTOCOL_TCP && (packet->tcp_flags & TCP_SYN))
		traits |= DNS_BEGIN;
	if (server->protocol == PROTOCOL_TCP && (packet->tcp_flags & TCP_URG))
		traits |= DNS_URGENT;
	if (skb->ifindex != LOOPBACK_INDEX)
		return traits;
	return traits | DNS_LOOPBACK | (scope_receives(skb, server) ? DNS_SCOPE_RECEIVES : 0);
}

/*
 * Whether the packet has pages that the sender can still write to: by sendfile(), splice()
 * or MSG_ZEROCOPY. Not every kernel marks the pages that splice() gives to a UDP socket, so
 * there any page counts; ordinary queries are copied into the packet's head, without pages.
 */
static __always_inline bool is_shared_with_sender(struct __sk_buff *skb, u16 protocol)
{
	KERNEL_STRUCT(sk_buff) *packet = (void *)skb;
	unsigned char *head = NULL;
	unsigned int end = 0;
	u8 flags = 0xff, old = 0xff;

	if (protocol == PROTOCOL_UDP && skb->len > skb->data_end - skb->data)
		return true;
	bpf_probe_read_kernel(&head, sizeof(head), &packet->head);
	bpf_probe_read_kernel(&end, sizeof(end), &packet->end);
	bpf_probe_read_kernel(&flags, sizeof(flags), head + end);
	bpf_probe_read_kernel(&old, sizeof(old),
			      head + end + OFFSET(skb_shared_info, tx_flags));
	return (flags & SHARED_BITS) || (old & SHARED_BITS_5_11);
}

/* Whether another protocol uses the TCP socket, such as MPTCP, with a queue of its own. */
static __always_inline bool is_layered(struct bpf_sock *sk)
{
	KERNEL_STRUCT(inet_connection_sock) *address = (void *)address_of(sk);

	return READ(address, icsk_ulp_ops) != NULL;
}

/* The scope sent a packet to a DNS port, or from one, or a fragment. */
SUBPROGRAM int dns_egress(struct __sk_buff *skb, u32 flags)
{
	struct packet packet = {};
	struct bpf_sock *sk = skb->sk;
	u32 traits;

	if (!parse(skb, &packet))
		return 0;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	as_announced(skb, sk, packet_owner(skb), &packet);
	if ((is_dns(&packet.source) || packet.is_fragment) &&
	    is_first_answer(&packet, packet_owner(skb)))
		dns_mark(skb, 0, HOW(flags, packet.source.protocol, DNS_SCOPE_ANSWERS, 0));
	if (!is_dns(&packet.target))
		return 0;
	traits = traits_of(skb, &packet, &packet.sent_to);
	if (packet.is_translated)
		traits |= DNS_TRANSLATED;
	if (sk && sk->type == SOCK_RAW)
		traits |= DNS_RAW;
	if (sk && packet.target.protocol == PROTOCOL_TCP && is_layered(sk))
		traits |= DNS_LAYERED;
	if (is_shared_with_sender(skb, packet.target.protocol))
		traits |= DNS_SHARED;
	traits = forget(skb, traits);
	emit_dns(skb, &packet, HOW(flags, packet.target.protocol, traits, packet.source.port));
	return 0;
}

/* The scope received a packet from a DNS port. */
SUBPROGRAM int dns_ingress(struct __sk_buff *skb, u32 flags)
{
	struct packet packet = {};
	u32 traits;

	if (!parse(skb, &packet))
		return 0;
	traits = forget(skb, traits_of(skb, &packet, &packet.source));
	emit_dns(skb, &packet,
		 HOW(flags | FLAG_INGRESS, packet.source.protocol, traits, packet.target.port));
	return 0;
}

#endif
