/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Who receives a packet on this machine: asked of the kernel as the packet passes. */
#ifndef EGRESSMON_RECEIVER_H
#define EGRESSMON_RECEIVER_H

#include "socket.bpf.h"

#define LOOPBACK_INDEX 1 /* of lo in every network namespace (drivers/net/loopback.c) */
#define STATE_LISTEN 10	 /* include/net/tcp_states.h */
#define RECEIVER_TAKEN 8 /* beside a receiver: it does not listen */
#define RECEIVER_LEFT 16 /* or it is of a process that left the scope's cgroup */
#define RECEIVER_ALONE 7 /* what is left without these */
#define MAX_MEMBERS 16
#define BIT_REUSEPORT 0x10 /* behind the four bits of skc_reuse */
#define BITS_REUSE 0x0f
#define THIS_NAMESPACE ((u32)-1) /* BPF_F_CURRENT_NETNS: the packet's */

/* By number: each engine's headers declare it with types of their own (since 5.8). */
static u64 (*ancestor_cgroup_id)(void *sk, int level) = (void *)129;

/* Made or bound by the scope; an inherited socket may be another's, too. */
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

/*
 * Whether another's socket may be bound to the same port: who gets a packet is settled
 * as it arrives, and might be another one by then. The bits lie behind skc_state.
 */
static __always_inline bool is_shared(struct bpf_sock *sk, u16 protocol)
{
	u32 place = OFFSET(sock_common, skc_state) + 1;
	u8 start[64] = {};
	u8 bits;

	bpf_probe_read_kernel(start, place + 1, sk);
	bits = start[place & (sizeof(start) - 1)];
	if (protocol == PROTOCOL_UDP && (bits & BITS_REUSE))
		return true;
	return (bits & BIT_REUSEPORT) && !is_group_here((u64)address_of(sk));
}

/* Whose the socket is that was found; it is released. Only listeners are shared. */
static __always_inline u32 owner_of(struct bpf_sock *sk, u16 protocol, bool connected)
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
	if (is_made_here(state) || (scope && !other))
		receiver = !connected && is_shared(sk, protocol) ? RECEIVER_SHARED
								 : RECEIVER_SCOPE;
	else if (!scope)
		receiver = RECEIVER_ASK;
	bpf_sk_release(sk);
	return receiver | (taken & RECEIVER_TAKEN) | left;
}

/*
 * Whose socket has, or would accept, the connection from source, a port of it, to target;
 * or (connected) whose a SYN with an ACK is for.
 */
static __always_inline u32 socket_at(struct __sk_buff *skb, const struct endpoint *source,
				     const struct endpoint *target, u16 source_port,
				     bool connected)
{
	bool inet = is_inet(target->address);
	struct bpf_sock_tuple tuple = {};
	u32 size = inet ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6);
	u16 port = bpf_htons(source_port);
	struct bpf_sock *sk;

	if (inet) {
		tuple.ipv4.saddr = source->address[3];
		tuple.ipv4.daddr = target->address[3];
		tuple.ipv4.sport = port;
		tuple.ipv4.dport = bpf_htons(target->port);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, source->address, ADDRESS_SIZE);
		__builtin_memcpy(tuple.ipv6.daddr, target->address, ADDRESS_SIZE);
		tuple.ipv6.sport = port;
		tuple.ipv6.dport = bpf_htons(target->port);
	}
	if (target->protocol == PROTOCOL_UDP)
		sk = bpf_sk_lookup_udp(skb, &tuple, size, THIS_NAMESPACE, 0);
	else
		sk = bpf_sk_lookup_tcp(skb, &tuple, size, THIS_NAMESPACE, 0);
	return sk ? owner_of(sk, target->protocol, connected) : RECEIVER_NOBODY;
}

#endif
