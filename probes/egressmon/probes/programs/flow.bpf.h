/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Connections, as their sockets announce them. */
#ifndef EGRESSMON_FLOW_H
#define EGRESSMON_FLOW_H

#include "stack.bpf.h"

/* By number: each engine's headers declare it with types of their own. */
static u64 (*current_ancestor_cgroup_id)(int level) = (void *)123;

#define MAX_LEVELS 64 /* of a cgroup below the hierarchy's root */

struct flow {
	const struct endpoint *peer;
	const struct endpoint *sent_to;	  /* where its packet really goes; NULL: to peer */
	const struct socket_state *owner; /* NULL: nobody known */
	u64 cookie;
	u32 kind;
	u32 flags;
	u32 socket_type;
	u16 receiver;
	u16 local_port;
	bool is_again; /* whose call it is, was told for other packets */
	u64 ktime_ns;  /* 0: now */
};

static __always_inline void emit_flow(const struct flow *flow)
{
	const struct socket_state *owner = flow->owner;
	const struct socket_state *caller = flow->is_again ? NULL : owner;
	struct flow_event *event = bpf_ringbuf_reserve(MAP(events), sizeof(*event), 0);

	if (!event) {
		count(COUNT_LOST_FLOW, 1);
		return;
	}
	event->ktime_ns = flow->ktime_ns ? flow->ktime_ns : bpf_ktime_get_boot_ns();
	event->kind = flow->kind;
	event->cookie = flow->cookie;
	event->flags = flow->flags | (owner ? 0 : FLAG_OWNERLESS);
	event->socket_type = flow->socket_type;
	event->protocol = flow->peer->protocol;
	event->port = flow->peer->port;
	event->receiver = flow->receiver;
	event->local_port = flow->local_port;
	event->exec_id = owner ? owner->exec_id : 0;
	event->spare = 0;
	event->sent_port = flow->sent_to ? flow->sent_to->port : 0;
	if (flow->sent_to)
		__builtin_memcpy(event->sent_to, flow->sent_to->address, ADDRESS_SIZE);
	else
		__builtin_memset(event->sent_to, 0, ADDRESS_SIZE);
	event->start_ns = owner ? owner->start_ns : 0;
	event->stack_ns = caller ? caller->stack_ns : 0;
	event->frames_ns = caller ? caller->frames_ns : 0;
	if (caller && (caller->flags & SOCKET_STACK_LOST))
		event->flags |= FLAG_STACK_LOST;
	if (caller && (caller->flags & SOCKET_FRAMES_LOST))
		event->flags |= FLAG_FRAMES_LOST;
	event->tgid = owner ? owner->tgid : 0;
	event->netns = owner ? owner->netns : 0;
	event->cgroup = owner ? owner->cgroup : 0;
	event->tid = owner ? owner->tid : 0;
	event->uid = owner ? owner->uid : 0;
	__builtin_memcpy(event->address, flow->peer->address, ADDRESS_SIZE);
	if (owner)
		__builtin_memcpy(event->comm, owner->comm, COMM_SIZE);
	else
		__builtin_memset(event->comm, 0, COMM_SIZE);
	submit(event);
}

/* The first time that a socket names this peer: remember it and say so. */
static __always_inline bool is_new_peer(const struct flow *flow)
{
	struct peer_key key = {.cookie = flow->cookie, .peer = *flow->peer};
	struct known_peer none = {};

	if (is_known_peer(&key))
		return false;
	bpf_map_update_elem(MAP(peers), &key, &none, BPF_ANY);
	return true;
}

/*
 * A connection is told of as its first packet leaves: only then the kernel says by
 * which device, and who receives it. What never sends a packet is told of as the socket
 * is aimed elsewhere or closed, except for datagram sockets: libc sorts addresses by
 * connecting those.
 */
static __always_inline void emit_unsent(struct socket_state *state, u64 cookie, u32 type)
{
	bool sending = state->flags & SOCKET_SENDING;
	struct flow flow = {.peer = sending ? &state->aim : &state->peer,
			    .owner = state,
			    .cookie = cookie,
			    .kind = sending ? KIND_SENDMSG : KIND_CONNECT,
			    .socket_type = type,
			    .ktime_ns = state->aimed_ns};

	if (!sending && (!(state->flags & SOCKET_PENDING) || type == SOCK_DGRAM))
		return;
	state->flags &= sending ? ~SOCKET_SENDING : ~SOCKET_PENDING;
	flow.flags = FLAG_UNSENT | (state->flags & SOCKET_INSIDE ? 0 : FLAG_FOREIGN);
	if (is_loopback(flow.peer->address) || is_unspecified(flow.peer->address))
		flow.receiver = RECEIVER_NOBODY;
	emit_flow(&flow);
}

/* Of other protocols, the packets may be those of a socket that the kernel makes. */
static __always_inline void announce_connect(struct socket_state *state, struct flow *flow,
					     u32 protocol)
{
	state->peer = *flow->peer;
	emit_stack(state);
	state->aimed_ns = bpf_ktime_get_boot_ns();
	state->flags |= SOCKET_PENDING;
	state->told = 0;
	if (flow->socket_type == SOCK_DGRAM || protocol == PROTOCOL_TCP)
		return;
	state->flags &= ~SOCKET_PENDING;
	if (is_loopback(flow->peer->address) || is_unspecified(flow->peer->address))
		flow->receiver = RECEIVER_ASK;
	emit_flow(flow);
}

static __always_inline bool is_announced(const struct socket_state *state,
					 const struct flow *flow)
{
	/*
	 * An IPv4 peer of an IPv6 socket runs this hook at each send (v4-mapped), with the
	 * address that the kernel put in the place of none; without a port, none was named
	 * (a connected socket with IP_PKTINFO): the packet tells.
	 */
	return !flow->peer->port || is_aimed(&state->peer, flow->peer) || !is_new_peer(flow);
}

static __always_inline void announce_send(struct socket_state *state, struct flow *flow)
{
	bool announced = is_announced(state, flow);

	/* Each question is somebody's: its packet will name this call. */
	if (announced && flow->peer->port != DNS_PORT)
		return;
	FORGET(announced);
	emit_stack(state);
	if (announced)
		return;
	state->aimed_ns = bpf_ktime_get_boot_ns();
	state->aim = *flow->peer;
	state->flags |= SOCKET_SENDING;
}

/*
 * Where a hook is: on a cgroup that was made for the run; on one that was there before,
 * where it observes; or on the root, for sockets from outside.
 */
#define PLACE_OUTSIDE 0
#define PLACE_MADE 1
#define PLACE_FOUND 2

/* Returns 1 (let it happen), and 0 (EPERM) for the agent's canaries alone. */
static __always_inline int on_address(struct bpf_sock_addr *ctx, u32 kind, bool inet, u32 place)
{
	bool inside = place != PLACE_OUTSIDE;
	struct socket_state *state;
	struct endpoint peer;
	struct flow flow = {.peer = &peer, .kind = kind, .socket_type = ctx->type};

	if (!inside && !is_ours_outside(ctx->sk))
		return 1;
	state = bpf_sk_storage_get(MAP(sockets), ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNT_LOST_SOCKET, 1);
		return 1;
	}
	if (inside)
		state->flags |= SOCKET_INSIDE;
	flow.cookie = bpf_get_socket_cookie(ctx);
	emit_unsent(state, flow.cookie, flow.socket_type);
	read_peer(ctx, inet, &peer);
	note_named(state, &peer);
	own(state);
	state->netns = bpf_get_netns_cookie(ctx);
	flow.owner = state;
	if (place == PLACE_MADE) {
		flow.flags = canary_flags(&peer);
		if (flow.flags) {
			emit_flow(&flow);
			return !(flow.flags & FLAG_REFUSED);
		}
	} else if (place == PLACE_OUTSIDE) {
		flow.flags = FLAG_FOREIGN;
	}
	if (kind == KIND_CONNECT)
		announce_connect(state, &flow, ctx->protocol);
	else
		announce_send(state, &flow);
	return 1;
}

/*
 * Whether the current process is in the scope's cgroup. By the cgroup's number: Linux 6.1
 * offers no other question where a socket is made.
 */
static __always_inline bool runs_in_scope(void)
{
	struct settings *set = settings_set();

	return set && current_ancestor_cgroup_id(set->scope_level) == set->scope_id;
}

/*
 * Whether the current process is in the cgroup from which canaries are sent, whose own hooks
 * have run.
 */
static __always_inline bool sends_canaries(void)
{
	struct settings *set = settings_set();

	return set && set->own_id && current_ancestor_cgroup_id(set->own_level) == set->own_id;
}

/*
 * Who was moved into the scope is its process from its first socket on, wherever it goes:
 * those that fork or execute a program there are anyhow.
 */
static __always_inline void admit_current(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (!is_kernel_thread() && runs_in_scope() && !in_lineage(tgid))
		join_lineage(tgid, (kernel_task *)bpf_get_current_task());
}

/* As on_address(), where a scope is watched that was there before. Refuses nothing. */
static __always_inline int on_found_address(struct bpf_sock_addr *ctx, u32 kind, bool inet)
{
	if (sends_canaries())
		return 1;
	admit_current();
	on_address(ctx, kind, inet, PLACE_FOUND);
	return 1;
}

/* Note how far the scope's cgroup, in which the current process is, is below the root. */
static __always_inline void find_level(void)
{
	struct settings *set = settings_set();

	if (!set)
		return;
#pragma unroll
	for (int level = 1; level < MAX_LEVELS; level++)
		if (current_ancestor_cgroup_id(level) == set->scope_id)
			set->scope_level = level;
}

/*
 * A TCP socket's connect hook tells all; the makers of others are remembered here,
 * as several protocols have no such hook.
 */
static __always_inline int on_create(struct bpf_sock *ctx, bool inside)
{
	struct socket_state *state;

	if (inside && ctx->type == SOCK_STREAM && ctx->protocol == PROTOCOL_TCP)
		return 1;
	if (!inside && !in_lineage(bpf_get_current_pid_tgid() >> 32))
		return 1;
	state = bpf_sk_storage_get(MAP(sockets), ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNT_LOST_SOCKET, 1);
		return 1;
	}
	state->flags |= inside ? SOCKET_INSIDE : SOCKET_LINEAGE;
	state->netns = bpf_get_netns_cookie(ctx);
	own(state);
	/* Only TCP and UDP have hooks that run as a peer is named. */
	if (ctx->protocol != PROTOCOL_UDP && ctx->protocol != PROTOCOL_TCP)
		emit_stack(state);
	return 1;
}

/* Who binds a socket is the owner of what it accepts. */
static __always_inline int on_bind(struct bpf_sock *ctx, bool inside)
{
	struct socket_state *state;

	if (!inside && !is_ours_outside(ctx))
		return 1;
	state = bpf_sk_storage_get(MAP(sockets), ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNT_LOST_SOCKET, 1);
		return 1;
	}
	state->flags |= inside ? SOCKET_INSIDE : SOCKET_BOUND;
	state->netns = bpf_get_netns_cookie(ctx);
	own(state);
	return 1;
}

/* The scope's own as well as foreign ones: neither is told of twice. */
static __always_inline int on_release(struct bpf_sock *ctx)
{
	struct socket_state *state = bpf_sk_storage_get(MAP(sockets), ctx, 0, 0);

	if (state && (state->flags & (SOCKET_SENDING | SOCKET_PENDING)))
		emit_unsent(state, bpf_get_socket_cookie(ctx), ctx->type);
	return 1;
}

#endif
