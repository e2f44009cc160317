/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Who receives a packet on this machine: asked of the kernel as the packet passes. */
#ifndef EGRESSMON_RECEIVER_H
#define EGRESSMON_RECEIVER_H

#include "packet.bpf.h"
#include "socket.bpf.h"

#define LOOPBACK_INDEX 1 /* of lo in every network namespace (drivers/net/loopback.c) */
#define RECEIVER_TAKEN 8 /* beside a receiver: it does not listen */
#define RECEIVER_LEFT 16 /* or it is of a process that left the scope's cgroup */
#define RECEIVER_ALONE 7 /* what is left without these */
#define MAX_MEMBERS 16
#define BIT_REUSEPORT 0x10 /* behind the four bits of skc_reuse */
#define BITS_REUSE 0x0f
#define FOR_MANY 0x30000000 /* RTCF_BROADCAST and _MULTICAST (linux/in_route.h) */
/* Whether it counts that other sockets may be at the same port. */
#define SHARING_NONE 0 /* no: it is connected, or all of them are asked */
#define SHARING_LOOKED_UP 1
#define SHARING_GUESSED 2
#define THIS_NAMESPACE ((u32)-1) /* BPF_F_CURRENT_NETNS: the packet's */

/* By number: each engine's headers declare it with types of their own (since 5.8). */
static u64 (*ancestor_cgroup_id)(void *sk, int level) = (void *)129;
static kernel_sock *(*tcp_sock_of)(void *sk) = (void *)137; /* BPF_FUNC_skc_to_tcp_sock */

/* Whether a socket was made in the scope's cgroup. */
static __always_inline bool is_in_scope(struct bpf_sock *sk)
{
	struct settings *set = settings_set();

	return set && ancestor_cgroup_id(sk, set->scope_level) == set->scope_id;
}

/* Made by the scope; an inherited socket may be another's, too, whoever bound it. */
static __always_inline bool is_made_here(const struct socket_state *state)
{
	return state && (state->flags & (SOCKET_INSIDE | SOCKET_LINEAGE));
}

/* As a number: no arithmetic is allowed on a socket's pointer. */
static __always_inline kernel_sock *address_of(struct bpf_sock *sk)
{
	kernel_sock *address = NULL;
	struct bpf_sock *held = sk;

	bpf_probe_read_kernel(&address, sizeof(address), &held);
	return address;
}

/*
 * Whether all sockets that take turns at a port were made in the same cgroup. Without a
 * branch for each: the verifier would follow them all. A group begins with room for 128
 * (INIT_SOCKS, net/core/sock_reuseport.c); what cannot be read is not here.
 */
SUBPROGRAM int is_group_here(u64 address)
{
	kernel_sock *sk = (void *)address;
	kernel_group *group = READ(sk, sk_reuseport_cb);
	u64 cgroup = READ(sk, sk_cgrp_data).cgroup;
	u64 other = 0;
	u32 count = READ(group, num_socks);

	if (!group || !cgroup || !count || count > MAX_MEMBERS)
		return false;
#pragma unroll
	for (u32 i = 0; i < MAX_MEMBERS; i++) {
		u64 is_member = ((u64)i - count) >> 63;
		kernel_sock *member = NULL;

		bpf_probe_read_kernel(&member, sizeof(member), (void **)&group->socks + i);
		other |= (READ(member, sk_cgrp_data).cgroup ^ cgroup) & -is_member;
	}
	return !other;
}

/* The bits behind skc_state. */
static __always_inline u8 reuse_bits(kernel_sock *sk)
{
	u8 bits = 0;

	bpf_probe_read_kernel(&bits, sizeof(bits),
			      (void *)sk + OFFSET(sock_common, skc_state) + 1);
	return bits;
}

/*
 * Whether a packet is for several sockets: no address shows that of an IPv4 broadcast, but
 * the way that the packet takes does. The last bit of the pointer to that is no part of it
 * (SKB_DST_NOREF).
 */
static __always_inline bool is_for_many(struct __sk_buff *skb, const u32 address[4])
{
	KERNEL_STRUCT(sk_buff) *packet = (void *)skb;
	u64 way = READ(packet, _skb_refdst) & ~1ULL;

	if (!is_inet(address))
		return *(const u8 *)address == 0xff;
	return !way || (READ((KERNEL_STRUCT(rtable) *)way, rt_flags) & FOR_MANY);
}

/* A TCP socket whose fields can be read in place, as in FIELD(); NULL where they can't. */
static __always_inline kernel_sock *known_sock(struct bpf_sock *sk)
{
	return KNOWS_TASK ? tcp_sock_of(sk) : NULL;
}

/*
 * Whether another's socket may be bound to the same port: who gets a packet is settled
 * as it arrives, and might be another one by then. A member of a group can take its bit
 * back, and remains one.
 */
static __always_inline bool is_shared(struct bpf_sock *sk, u16 protocol)
{
	kernel_sock *known = protocol == PROTOCOL_TCP ? known_sock(sk) : NULL;
	kernel_sock *address;
	/* Without a branch: of UDP's number the last bit is set, and of TCP's it is not. */
	u32 mask = BIT_REUSEPORT | (BITS_REUSE & -(protocol & 1));
	u32 shared;
	u64 group;

	if (known && !known->sk_reuseport_cb)
		return *((const u8 *)known + OFFSET(sock_common, skc_state) + 1) & mask;
	address = address_of(sk);
	group = (u64)READ(address, sk_reuseport_cb);
	shared = reuse_bits(address) & mask;
	if (group)
		shared = (shared & BITS_REUSE) | !is_group_here((u64)address);
	FORGET(shared);
	return shared;
}

/* Whether there is any sign that it may: asked with less, where it is rare. */
static __always_inline bool may_be_shared(struct bpf_sock *sk)
{
	kernel_sock *address = address_of(sk);

	return (reuse_bits(address) & (BIT_REUSEPORT | BITS_REUSE)) |
	       (READ(address, sk_reuseport_cb) != NULL);
}

/* Whose the socket is that was found; it is released. */
static __always_inline u32 owner_of(struct bpf_sock *sk, u16 protocol, u32 sharing)
{
	struct socket_state *state = bpf_sk_storage_get(MAP(sockets), sk, 0, 0);
	struct settings *set = settings_set();
	u64 scope = set ? set->scope_id : 0;
	u32 level = set ? set->scope_level : 0;
	u32 receiver = RECEIVER_OUTSIDE;
	/* Without a branch: 0 for one that listens (states are below 16). */
	u32 taken = ((sk->state ^ STATE_LISTEN) + 15) >> 4 << 3;
	u64 other = ancestor_cgroup_id(sk, level) ^ scope;
	/* Without a branch, too: 0 for one in the scope's cgroup. */
	u32 left = (other | -other) >> 63 << 4;

	/* A socket that listens without having been bound has no state. */
	if (is_made_here(state) || !other)
		receiver = (sharing == SHARING_LOOKED_UP && is_shared(sk, protocol)) ||
					   (sharing == SHARING_GUESSED && may_be_shared(sk))
				   ? RECEIVER_SHARED
				   : RECEIVER_SCOPE;
	bpf_sk_release(sk);
	return receiver | (taken & RECEIVER_TAKEN) | left;
}

/* The socket that has, or would accept, the connection from source, a port of it, to target. */
static __always_inline struct bpf_sock *find_socket(struct __sk_buff *skb,
						    const struct endpoint *source,
						    const struct endpoint *target,
						    u16 source_port)
{
	/* Without branches, which the verifier would follow: all bits are set for IPv4. */
	u32 inet = -forget(skb, is_inet(target->address));
	u32 ports = bpf_htons(source_port) | (u32)bpf_htons(target->port) << 16;
	const u32 *from = source->address, *to = target->address;
	/* As struct bpf_sock_tuple has it: both addresses, both ports. */
	u32 tuple[] = {
		(from[0] & ~inet) | (from[3] & inet),
		(from[1] & ~inet) | (to[3] & inet),
		(from[2] & ~inet) | (ports & inet),
		from[3],
		to[0],
		to[1],
		to[2],
		to[3],
		ports,
	};
	u32 size = sizeof(tuple) - (inet & (sizeof(tuple) - 3 * sizeof(u32)));

	if (target->protocol == PROTOCOL_UDP)
		return bpf_sk_lookup_udp(skb, (void *)tuple, size, THIS_NAMESPACE, 0);
	return bpf_sk_lookup_tcp(skb, (void *)tuple, size, THIS_NAMESPACE, 0);
}

/* Whose that socket is; or (SHARING_NONE) whose a SYN with an ACK is for. */
static __always_inline u32 socket_at(struct __sk_buff *skb, const struct endpoint *source,
				     const struct endpoint *target, u16 source_port,
				     u32 sharing)
{
	struct bpf_sock *sk = find_socket(skb, source, target, source_port);

	return sk ? owner_of(sk, target->protocol, sharing) : RECEIVER_NOBODY;
}

#endif
