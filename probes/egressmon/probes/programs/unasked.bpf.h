/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the kernel sends by itself: resets, acknowledgements for a connection that is over,
 * ICMP errors, and what IPv6 tells neighbours. Two things must hold: the packet's socket is
 * one that no process can have, and its form has no room for what a process would say.
 *
 * An answer goes to whoever the packet before it names as its source, and an ICMP error quotes
 * it. So a process that may forge a source could have the kernel carry data for it: what is
 * for an address from which a raw socket has sent is told of as sent by nobody known.
 */
#ifndef EGRESSMON_UNASKED_H
#define EGRESSMON_UNASKED_H

#include "receiver.bpf.h"

#define TCP_FIN 0x01
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define BIT_KERNEL 0x02 /* sk_kern_sock, in the byte that it begins with sk_gso_disabled */
#define HOPS_OF_NEIGHBOURS 255 /* RFC 4861: a router would have counted one down */
#define HOPS_OF_GROUPS 1       /* RFC 3810 */
#define GROUP_START 0xff       /* of an IPv6 multicast address */
/* For as long as a packet may wait for its answer: fragments do for 60 s (ipfrag_time: 30). */
#define FORGED_NS (90 * 1000000000LL)

#define FORM_OTHER 0
#define FORM_ANSWER 1
#define FORM_NEIGHBOUR 2

#define FORGED_BITS 12

/*
 * When a process last sent something by a raw socket from an address, by a hash of that: no
 * flood has one forgotten.
 */
DEFINE_MAP(forged, ARRAY, u32, u64, 1 << FORGED_BITS, 0);

static __always_inline u64 *forged_at(const u32 address[4])
{
	/* Knuth's: 2 to the 32nd, by the golden ratio. */
	u32 mixed = (address[0] ^ address[1] ^ address[2] ^ address[3]) * 2654435769u;
	WIDE_KEY(key, mixed >> (32 - FORGED_BITS));

	return bpf_map_lookup_elem(MAP(forged), &key);
}

/*
 * Whether a socket is none that a process has: the kernel made it for itself, and no file
 * stands for it. Each of both would do; both are asked, as the first is a bit without a name.
 */
static __always_inline bool is_kernels(kernel_sock *sk)
{
	KERNEL_STRUCT(socket) *socket = (void *)READ(sk, sk_socket);
	u8 bits = 0;

	bpf_probe_read_kernel(&bits, sizeof(bits), (void *)sk + OFFSET(sock, sk_kern_sock));
	return (bits & BIT_KERNEL) && socket && !READ(socket, file);
}

/* RST, or ACK, without any data. */
static __always_inline u32 form_of_tcp(struct __sk_buff *skb, u32 offset)
{
	struct tcp_start start;

	if (bpf_skb_load_bytes(skb, offset, &start, sizeof(start)))
		return FORM_OTHER;
	if (!(start.flags & (TCP_RST | TCP_ACK)) ||
	    (start.flags & (TCP_SYN | TCP_FIN | TCP_PSH | TCP_URG)) ||
	    skb->len != offset + (start.offset >> 4) * 4)
		return FORM_OTHER;
	return FORM_ANSWER;
}

static __always_inline u32 form_of_inet(struct __sk_buff *skb)
{
	struct inet_header inet;
	u8 type = 0;

	if (bpf_skb_load_bytes(skb, 0, &inet, sizeof(inet)) || inet.start[0] != 0x45 ||
	    (inet.fragment[0] & 0x3f) | inet.fragment[1])
		return FORM_OTHER;
	if (inet.protocol == PROTOCOL_TCP)
		return form_of_tcp(skb, sizeof(inet));
	if (inet.protocol != PROTOCOL_ICMP || bpf_skb_load_bytes(skb, sizeof(inet), &type, 1))
		return FORM_OTHER;
	/* Unreachable, redirect, time exceeded, a bad parameter (RFC 792). */
	return type == 3 || type == 5 || type == 11 || type == 12 ? FORM_ANSWER : FORM_OTHER;
}

static __always_inline u32 form_of_icmp6(u8 type, u8 hops, bool is_group)
{
	/* Errors (RFC 4443): unreachable, too big, time exceeded, a bad parameter. */
	if (type >= 1 && type <= 4)
		return FORM_ANSWER;
	/* Router and neighbour solicitation, neighbour advertisement, redirect (RFC 4861). */
	if (type == 133 || (type >= 135 && type <= 137))
		return hops == HOPS_OF_NEIGHBOURS ? FORM_NEIGHBOUR : FORM_OTHER;
	/* Reports of groups that are joined and left (RFC 2710, 3810). */
	if (type == 131 || type == 132 || type == 143)
		return is_group && hops == HOPS_OF_GROUPS ? FORM_NEIGHBOUR : FORM_OTHER;
	return FORM_OTHER;
}

static __always_inline u32 form_of_inet6(struct __sk_buff *skb)
{
	struct inet6_header inet6;
	u32 offset = sizeof(inet6);
	u8 next[2] = {};
	u8 type = 0;

	if (bpf_skb_load_bytes(skb, 0, &inet6, sizeof(inet6)))
		return FORM_OTHER;
	if (inet6.next == PROTOCOL_TCP)
		return form_of_tcp(skb, offset);
	/* Reports have a router alert before them: 8 bytes (RFC 2711). */
	if (inet6.next == 0) {
		if (bpf_skb_load_bytes(skb, offset, next, sizeof(next)) || next[1])
			return FORM_OTHER;
		offset += 8;
		inet6.next = next[0];
	}
	if (inet6.next != PROTOCOL_ICMPV6 || bpf_skb_load_bytes(skb, offset, &type, 1))
		return FORM_OTHER;
	return form_of_icmp6(type, inet6.hops, *(const u8 *)inet6.target == GROUP_START);
}

/* The source's address (at 12 or 8), or the target's, behind it; IPv4 as the last word. */
static __always_inline bool read_address(struct __sk_buff *skb, bool is_target, u32 address[4])
{
	u64 version = 0;

	if (bpf_skb_load_bytes(skb, 0, &version, 1))
		return false;
	if (version >> 4 == 4)
		return !bpf_skb_load_bytes(skb, is_target ? 16 : 12, &address[3], 4);
	return !bpf_skb_load_bytes(skb, is_target ? 24 : 8, address, ADDRESS_SIZE);
}

/*
 * Whether the kernel sent a packet by itself; of a process's, it is noted from which address.
 * For raw sockets alone: the kernel's control sockets are such (inet_ctl_sock_create()).
 */
SUBPROGRAM int is_unasked(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	u32 address[4] = {};
	u64 version = 0, *last;
	u32 form;
	bool own;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || bpf_skb_load_bytes(skb, 0, &version, 1))
		return false;
	own = forget(skb, is_kernels(address_of(sk)));
	if (!read_address(skb, own, address))
		return false;
	last = forged_at(address);
	if (!last)
		return false;
	if (!own) {
		*last = bpf_ktime_get_boot_ns();
		return false;
	}
	form = forget(skb, version >> 4 == 4 ? form_of_inet(skb) : form_of_inet6(skb));
	if (form == FORM_ANSWER && *last)
		return (long long)(bpf_ktime_get_boot_ns() - *last) > FORGED_NS;
	return form != FORM_OTHER;
}

#endif
