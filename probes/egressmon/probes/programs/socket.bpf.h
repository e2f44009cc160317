/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the probes remember of a socket and of its peers. */
#ifndef EGRESSMON_SOCKET_H
#define EGRESSMON_SOCKET_H

#include "task.bpf.h"

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMP 1
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_MPTCP 262
#define DNS_PORT 53
#define STATE_LISTEN 10 /* include/net/tcp_states.h */

#define SOCKET_INSIDE 1	    /* made inside the scope: its own hooks see it */
#define SOCKET_PENDING 2    /* connected, and nothing was sent yet */
#define SOCKET_LINEAGE 4    /* made outside it, by a process of the scope's */
#define SOCKET_STACK_LOST 8 /* the stack did not fit the ring */
#define SOCKET_FRAMES_LOST 16
#define SOCKET_SENDING 32 /* something is being sent to `aim` */
#define SOCKET_BOUND 64	  /* bound by such a process: who made it may hold it, too */

struct endpoint {
	u32 address[4];
	u16 port;
	u16 protocol;
	u32 spare;
};

struct peer_key {
	u64 cookie;
	struct endpoint peer;
};

/* What is known of a socket's peer. */
struct known_peer {
	u64 packets;
	u64 bytes;
	u32 told; /* which receivers were told of: a bit for each */
	u32 spare;
};

/*
 * The process that made or last aimed the socket, and its connected peer. The agent
 * writes zeros for what the command inherits.
 */
struct socket_state {
	u64 netns;
	u64 cgroup; /* of the process, in the v2 hierarchy */
	u32 flags;
	u32 tgid;
	u32 tid;
	u32 uid;
	struct endpoint peer;
	struct endpoint aim;
	struct endpoint first; /* the first peer that it was ever given */
	u32 named;	       /* 0: it has no peer yet; 1: only the first; 2: others as well */
	u32 told;	       /* which receivers of its stream were told of: a bit for each */
	u64 aimed_ns; /* when it was last aimed: after `stack_ns`, as it refers to that */
	u64 stack_ns; /* of the call that made or last aimed it; 0: none */
	u64 frames_ns;
	u64 start_ns; /* of the process, and which of its programs it ran */
	u32 exec_id;
	u32 dns_left;	 /* how much of its DNS messages will be read: quota.h */
	u64 dns_ns;	 /* when that was reckoned */
	u64 dns_unread;	 /* bytes that were not read, */
	u64 dns_told;	 /* and how many when that was last told of */
	u64 expected_ns; /* of a copy in `uncertain`: when its last packet left */
	char comm[COMM_SIZE];
};

DEFINE_SOCKET_STORAGE(sockets, struct socket_state);

/*
 * A socket's flags, aim and peer are changed without atomic operations (Linux 5.10 has none
 * but for sums), and a datagram socket's packets leave without its lock: of threads that share
 * one, another's change can be undone. So no record hangs on them: they say by which call a
 * peer was named. That something went to it at all is told by what is kept of the peer, here:
 * of packets that meet, at least one finds it new. TCP leaves under the socket's lock.
 */

/* Peers of sockets that have several; an evicted one is announced again, never lost. */
DEFINE_MAP(peers, LRU_HASH, struct peer_key, struct known_peer, MAX_PEERS, 0);

static __always_inline void set_inet(u32 address[4], u32 inet)
{
	address[0] = 0;
	address[1] = 0;
	address[2] = bpf_htonl(0xffff);
	address[3] = inet;
}

/* Without a branch for each word, as in what follows: the verifier takes both ways. */
static __always_inline bool is_inet(const u32 address[4])
{
	return !(address[0] | address[1] | (address[2] ^ bpf_htonl(0xffff)));
}

static __always_inline bool is_loopback(const u32 address[4])
{
	if (is_inet(address))
		return (address[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(address[0] | address[1] | address[2] | (address[3] ^ bpf_htonl(1)));
}

/* Ports mean nothing to ICMP, and MPTCP is TCP on the wire. */
static __always_inline void normalise(struct endpoint *endpoint)
{
	if (endpoint->protocol == PROTOCOL_MPTCP)
		endpoint->protocol = PROTOCOL_TCP;
	if (endpoint->protocol == PROTOCOL_ICMP || endpoint->protocol == PROTOCOL_ICMPV6)
		endpoint->port = 0;
}

static __always_inline bool same_address(const u32 a[4], const u32 b[4])
{
	return !((a[3] ^ b[3]) | (a[2] ^ b[2]) | (a[1] ^ b[1]) | (a[0] ^ b[0]));
}

static __always_inline bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && a->protocol == b->protocol &&
	       same_address(a->address, b->address);
}

static __always_inline bool is_unspecified(const u32 address[4])
{
	return !(address[0] | address[1] | address[3] | (address[2] & ~bpf_htonl(0xffff))) &&
	       (!address[2] || address[2] == bpf_htonl(0xffff));
}

/* Whether aim leads to target: no address at all becomes one of this machine's. */
static __always_inline bool is_aimed(const struct endpoint *aim, const struct endpoint *target)
{
	return aim->port == target->port && aim->protocol == target->protocol &&
	       (is_unspecified(aim->address) || same_address(aim->address, target->address));
}

/* The kernel holds the socket's lock while a hook runs, so that no two do so at once. */
static __always_inline void note_named(struct socket_state *state, const struct endpoint *peer)
{
	if (!state->named) {
		state->first = *peer;
		state->named = 1;
	} else if (!same_endpoint(&state->first, peer)) {
		state->named = 2;
	}
}

static __always_inline bool is_known_peer(const struct peer_key *key)
{
	return bpf_map_lookup_elem(MAP(peers), key) != NULL;
}

static __always_inline void read_peer(struct bpf_sock_addr *ctx, bool inet,
				      struct endpoint *peer)
{
	if (inet) {
		set_inet(peer->address, ctx->user_ip4);
	} else {
		peer->address[0] = ctx->user_ip6[0];
		peer->address[1] = ctx->user_ip6[1];
		peer->address[2] = ctx->user_ip6[2];
		peer->address[3] = ctx->user_ip6[3];
	}
	peer->port = bpf_ntohs(ctx->user_port);
	peer->protocol = ctx->protocol;
	peer->spare = 0;
	normalise(peer);
}

/*
 * Whether a socket that the current process uses was made outside the scope, while the
 * process is the scope's: the scope's own sockets, whose hooks ran just before, pass first.
 */
static __always_inline bool is_ours_outside(struct bpf_sock *sk)
{
	struct socket_state *state = bpf_sk_storage_get(MAP(sockets), sk, 0, 0);

	if (state && (state->flags & SOCKET_INSIDE))
		return false;
	return in_lineage(bpf_get_current_pid_tgid() >> 32);
}

/*
 * A kernel thread works for somebody else (MPTCP's subflows, NFS): what the socket is
 * known by stays, and where that is nothing, nobody is named.
 */
static __always_inline void own(struct socket_state *state)
{
	kernel_task *task = current_task();
	u64 ids = bpf_get_current_pid_tgid();

	if (is_kernel_thread())
		return;
	state->tgid = ids >> 32;
	state->tid = ids;
	state->uid = bpf_get_current_uid_gid();
	if ((u32)ids != state->tgid)
		state->start_ns = FIELD(FIELD(task, group_leader), start_boottime);
	else
		state->start_ns = FIELD(task, start_boottime);
	state->exec_id = FIELD(task, self_exec_id);
	state->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(state->comm, COMM_SIZE);
}

/*
 * FLAG_CANARY for the agent's own attempts while it makes them: exactly the
 * documentation address and port that it chose for this run are refused, and
 * its loopback datagram is let through.
 */
static __always_inline u32 canary_flags(const struct endpoint *peer)
{
	struct settings *set = settings_set();

	if (!set || !set->canary_armed || set->canary_port != peer->port)
		return 0;
	if (is_loopback(peer->address))
		return FLAG_CANARY;
	if (same_address(peer->address, set->canary_inet) ||
	    same_address(peer->address, set->canary_inet6))
		return FLAG_CANARY | FLAG_REFUSED;
	return 0;
}

#endif
