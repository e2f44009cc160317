/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* DNS payloads, copied whole into the ring for the agent to read. */
#ifndef EGRESSMON_DNS_H
#define EGRESSMON_DNS_H

#include "packet.h"
#include "quota.h"

#define DNS_PORT 53
#define MAX_CHUNKS 16

struct dns_capture {
	const struct packet *packet;
	const struct endpoint *server;
	struct socket_state *owner;
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
	event->start_ns = owner ? owner->start_ns : 0;
	event->exec_id = owner ? owner->exec_id : 0;
	event->spare = 0;
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

/*
 * That a socket has sent, or got, more than is read of it: as the bytes are twice as
 * many as when it was told before.
 */
static __always_inline void tell_unread(struct __sk_buff *skb,
					const struct dns_capture *capture)
{
	struct socket_state *owner = capture->owner;
	struct dns_event *event;

	count(COUNT_LOST_UNREAD, 1);
	if (!owner || owner->dns_unread < 2 * owner->dns_told)
		return;
	event = bpf_ringbuf_reserve(MAP(lookups), sizeof(*event), 0);
	if (!event)
		return; /* the next one tells of it */
	fill_dns(skb, event, capture, 0, 0);
	event->flags |= FLAG_UNREAD;
	event->total_size = owner->dns_unread > 0xffffffff ? 0xffffffff : owner->dns_unread;
	owner->dns_told = owner->dns_unread;
	submit_lookup(event);
}

/* Copy size bytes (1 to room, room a power of two) from skipped on. */
#define EMIT_CHUNK(skb, capture, skipped, size, room)                                          \
	({                                                                                     \
		struct dns_event *event =                                                      \
			bpf_ringbuf_reserve(MAP(lookups), sizeof(*event) + (room), 0);         \
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
				submit_lookup(event);                                          \
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
	if (!may_read(capture->owner, total)) {
		tell_unread(skb, capture);
		return;
	}
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

#endif
