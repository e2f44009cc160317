/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Who has received a packet that stays on this machine, where a look-up as it leaves cannot
 * tell. The look-up asks by the loopback device; the kernel asks by the device that has the
 * address, and a socket that is bound to that one is found only then. Others can take a
 * shared port in between. So such packets are known by their ends until they arrive.
 */
#ifndef EGRESSMON_DELIVERY_H
#define EGRESSMON_DELIVERY_H

#include "stream.bpf.h"

#define MAX_UNCERTAIN 8192
#define EXPECTED_NS (10 * 1000000000LL) /* for as long as that a packet may be on its way */

struct way {
	struct endpoint source;
	struct endpoint target;
	u64 device; /* the network namespace's own, by its address */
};

/* What is known of the sender. */
DEFINE_MAP(uncertain, LRU_HASH, struct way, struct socket_state, MAX_UNCERTAIN, 0);

/* When the last such packet left. Hardly any run has one: all else that arrives passes. */
DEFINE_MAP(expected, ARRAY, u32, u64, 1, 0);

static __always_inline void fill_way(struct way *way, struct __sk_buff *skb,
				     const struct endpoint *source,
				     const struct endpoint *target)
{
	KERNEL_STRUCT(sk_buff) *packet = (void *)skb;

	way->source = *source;
	way->target = *target;
	way->source.spare = 0;
	way->target.spare = 0;
	way->device = (u64)READ(packet, dev);
}

/* Signed, as another CPU may just have set `since`. */
static __always_inline bool is_over(u64 since)
{
	return (long long)(bpf_ktime_get_boot_ns() - since) > EXPECTED_NS;
}

/*
 * Whether the receiver of a packet, as it was looked up, may be another when it arrives. No
 * other device has the addresses of the loopback device.
 */
static __always_inline u32 is_uncertain(struct __sk_buff *skb, const struct packet *packet,
					u32 receiver)
{
	if (skb->ifindex != LOOPBACK_INDEX || receiver == RECEIVER_OUTSIDE ||
	    receiver == RECEIVER_UNKNOWN)
		return false;
	return receiver == RECEIVER_SHARED || !is_loopback(packet->sent_to.address);
}

/* Where no probe sees packets arrive, whoever may receive one does. */
static __always_inline u32 certain(u32 receiver)
{
	struct settings *set = settings_set();

	return set && set->sees_arrivals ? receiver : RECEIVER_UNKNOWN;
}

/*
 * Remember a packet until it arrives, or can't any more: its ends may be another's then. A
 * subprogram, as it takes much of the stack.
 */
SUBPROGRAM int expect(struct __sk_buff *skb)
{
	WIDE_KEY(first, 0);
	struct packet packet = {};
	struct way way = {};
	struct bpf_sock *sk = skb->sk;
	struct socket_state *state, *known;
	u64 now = bpf_ktime_get_boot_ns();
	u64 *last = bpf_map_lookup_elem(MAP(expected), &first);

	if (sk)
		sk = bpf_sk_fullsock(sk);
	state = state_of(sk);
	if (!state || !parse(skb, &packet))
		return 0;
	fill_way(&way, skb, &packet.source, &packet.target);
	known = bpf_map_lookup_elem(MAP(uncertain), &way);
	/* One that was told of stays as it is. */
	if (!known || is_over(known->expected_ns)) {
		bpf_map_update_elem(MAP(uncertain), &way, state, BPF_ANY);
		known = bpf_map_lookup_elem(MAP(uncertain), &way);
	}
	if (known)
		known->expected_ns = now;
	if (last)
		*last = now;
	return 0;
}

/* Whether a packet that arrives may be one of those that are remembered. */
static __always_inline bool is_awaited(struct __sk_buff *skb)
{
	WIDE_KEY(first, 0);
	u64 *last = bpf_map_lookup_elem(MAP(expected), &first);

	return skb->ifindex == LOOPBACK_INDEX && last && *last && !is_over(*last);
}

/* Whether a socket is the scope's, as owner_of() has it. */
static __always_inline bool is_scopes(struct bpf_sock *sk)
{
	return is_in_scope(sk) || is_made_here(bpf_sk_storage_get(MAP(sockets), sk, 0, 0));
}

/* What was told of a stream as it arrived is no news as its next packet leaves. */
static __always_inline void note_told(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock *sk =
		find_socket(skb, &packet->target, &packet->source, packet->target.port);
	struct socket_state *state;

	if (!sk)
		return;
	state = bpf_sk_storage_get(MAP(sockets), sk, 0, 0);
	if (state)
		state->told |= TOLD(RECEIVER_OUTSIDE);
	bpf_sk_release(sk);
}

/* Something of the scope arrived at a socket outside, which no look-up had found: tell. */
static __always_inline void on_delivery(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct packet packet = {};
	struct way way = {};
	struct socket_state *sender;
	struct flow flow = {.peer = &packet.target,
			    .kind = KIND_SENDMSG,
			    .receiver = RECEIVER_OUTSIDE,
			    .is_again = true};

	if (!is_awaited(skb) || is_scopes(sk) || !parse(skb, &packet))
		return;
	fill_way(&way, skb, &packet.source, &packet.target);
	sender = bpf_map_lookup_elem(MAP(uncertain), &way);
	if (!sender || (sender->told & TOLD(RECEIVER_OUTSIDE)) || is_over(sender->expected_ns))
		return;
	sender->told |= TOLD(RECEIVER_OUTSIDE);
	if (!(sender->flags & SOCKET_INSIDE))
		flow.flags = FLAG_FOREIGN;
	if (!sender->tgid)
		sender = NULL;
	/* As a pointer: the compiler would go on asking for the number. */
	asm volatile("" : "+r"(sender));
	flow.owner = sender;
	flow.socket_type = SOCK_DGRAM;
	if (packet.target.protocol == PROTOCOL_TCP) {
		flow.kind = KIND_CONNECT;
		flow.socket_type = SOCK_STREAM;
		note_told(skb, &packet);
	}
	emit_flow(&flow);
}

#endif
