/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Whether the scope itself may have answered a DNS question. */
#ifndef EGRESSMON_ANSWERER_H
#define EGRESSMON_ANSWERER_H

#include "nat.bpf.h"
#include "packet.bpf.h"
#include "receiver.bpf.h"

#define MAX_ANSWERERS 1024

struct answerer_key {
	u64 netns;
	u32 address[4];
	u32 tgid; /* each process is told of: where all are in the scope, it counts who it is */
	u32 spare;
};

/* Addresses from which the scope sent as a DNS server does; evicted ones are emitted again. */
DEFINE_MAP(answerers, LRU_HASH, struct answerer_key, u8, MAX_ANSWERERS, 0);

static __always_inline struct socket_state *packet_owner(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	return sk ? bpf_sk_storage_get(MAP(sockets), sk, 0, 0) : NULL;
}

static __always_inline bool is_first_answer(const struct packet *packet,
					    const struct socket_state *owner)
{
	struct answerer_key key = {.netns = owner ? owner->netns : 0,
				   .tgid = owner ? owner->tgid : 0};
	u8 known = 1;

	__builtin_memcpy(key.address, packet->source.address, ADDRESS_SIZE);
	if (bpf_map_lookup_elem(MAP(answerers), &key))
		return false;
	bpf_map_update_elem(MAP(answerers), &key, &known, BPF_ANY);
	return true;
}

/*
 * Whether a socket of the scope receives at a server's address and port, bound to that
 * address or to any. Only for packets on the loopback device: a socket that is bound to
 * any address would also be found for the addresses of other machines.
 */
static __always_inline bool scope_receives(struct __sk_buff *skb, const struct endpoint *server)
{
	/* From port 1, where no client is, so that the listener is found and no connection. */
	u32 receiver = socket_at(skb, server, server, 1, SHARING_NONE);

	return (receiver & RECEIVER_ALONE) == RECEIVER_SCOPE;
}

#endif
