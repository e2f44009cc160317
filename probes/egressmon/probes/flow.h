/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Connections, as their sockets announce them. */
#ifndef EGRESSMON_FLOW_H
#define EGRESSMON_FLOW_H

#include "stack.h"

struct flow {
	const struct endpoint *peer;
	const struct socket_state *owner; /* NULL: nobody known */
	u64 cookie;
	u32 kind;
	u32 flags;
	u32 socket_type;
};

static __always_inline void emit_flow(const struct flow *flow)
{
	const struct socket_state *owner = flow->owner;
	struct flow_event *event = bpf_ringbuf_reserve(MAP(events), sizeof(*event), 0);

	if (!event) {
		count(COUNT_LOST_FLOW, 1);
		return;
	}
	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = flow->kind;
	event->cookie = flow->cookie;
	event->flags = flow->flags | (owner ? 0 : FLAG_OWNERLESS);
	event->socket_type = flow->socket_type;
	event->protocol = flow->peer->protocol;
	event->port = flow->peer->port;
	event->spare = 0;
	event->stack_ns = owner ? owner->stack_ns : 0;
	event->frames_ns = owner ? owner->frames_ns : 0;
	if (owner && (owner->flags & SOCKET_STACK_LOST))
		event->flags |= FLAG_STACK_LOST;
	if (owner && (owner->flags & SOCKET_FRAMES_LOST))
		event->flags |= FLAG_FRAMES_LOST;
	event->tgid = owner ? owner->tgid : 0;
	event->netns = owner ? owner->netns : 0;
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
	struct traffic none = {};

	if (is_known_peer(&key))
		return false;
	bpf_map_update_elem(MAP(peers), &key, &none, BPF_ANY);
	return true;
}

static __always_inline void announce_connect(struct socket_state *state, struct flow *flow)
{
	state->peer = *flow->peer;
	state->sent.packets = 0;
	state->sent.bytes = 0;
	tell_caller(state);
	if (flow->socket_type == SOCK_DGRAM && (state->flags & SOCKET_INSIDE)) {
		/* libc sorts addresses by connecting datagram sockets that never send. */
		state->flags |= SOCKET_PENDING;
		return;
	}
	state->flags &= ~SOCKET_PENDING;
	emit_flow(flow);
}

static __always_inline bool is_announced(const struct socket_state *state,
					 const struct flow *flow)
{
	/* An IPv4 peer of an IPv6 socket runs this hook at each send (v4-mapped). */
	return same_endpoint(&state->peer, flow->peer) || !is_new_peer(flow);
}

static __always_inline void announce_send(struct socket_state *state, struct flow *flow)
{
	bool announced = is_announced(state, flow);
	bool copy = true;

	/* Each question is somebody's: its packet will name this call. */
	if (announced && flow->peer->port != DNS_PORT)
		return;
	/* For the verifier, which would follow what comes twice: it does not know the copy. */
	bpf_probe_read_kernel(&copy, sizeof(copy), &announced);
	tell_caller(state);
	if (!copy)
		emit_flow(flow);
}

/* Returns 1 (let it happen), and 0 (EPERM) for the agent's canaries alone. */
static __always_inline int on_address(struct bpf_sock_addr *ctx, u32 kind, bool inet,
				      bool inside)
{
	struct socket_state *state;
	struct endpoint peer;
	struct flow flow = {.peer = &peer, .kind = kind, .socket_type = ctx->type};

	if (!inside && !in_lineage(bpf_get_current_pid_tgid() >> 32))
		return 1;
	state = bpf_sk_storage_get(MAP(sockets), ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNT_LOST_SOCKET, 1);
		return 1;
	}
	if (!inside && (state->flags & SOCKET_INSIDE))
		return 1; /* the scope's own hook ran just before */
	if (inside)
		state->flags |= SOCKET_INSIDE;
	read_peer(ctx, inet, &peer);
	own(state);
	state->netns = bpf_get_netns_cookie(ctx);
	flow.owner = state;
	flow.cookie = bpf_get_socket_cookie(ctx);
	if (inside) {
		flow.flags = canary_flags(&peer);
		if (flow.flags) {
			emit_flow(&flow);
			return !(flow.flags & FLAG_REFUSED);
		}
	} else {
		flow.flags = FLAG_FOREIGN;
	}
	flow.flags |= listener_flags(state->netns, &peer);
	if (kind == KIND_CONNECT)
		announce_connect(state, &flow);
	else
		announce_send(state, &flow);
	return 1;
}

/*
 * A TCP socket's connect hook tells all; the makers of others are remembered here,
 * as several protocols have no such hook.
 */
static __always_inline int on_create(struct bpf_sock *ctx)
{
	struct socket_state *state;

	if (ctx->type == SOCK_STREAM && ctx->protocol == PROTOCOL_TCP)
		return 1;
	state = bpf_sk_storage_get(MAP(sockets), ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNT_LOST_SOCKET, 1);
		return 1;
	}
	state->flags |= SOCKET_INSIDE;
	state->netns = bpf_get_netns_cookie(ctx);
	own(state);
	/* Only UDP has hooks that run as a peer is named. */
	if (ctx->protocol != PROTOCOL_UDP)
		tell_caller(state);
	return 1;
}

static __always_inline int on_bind(struct bpf_sock *ctx, bool inet)
{
	struct endpoint local = {};
	struct socket_state *state;

	state = bpf_sk_storage_get(MAP(sockets), ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNT_LOST_LISTENER, 1);
		return 1;
	}
	state->netns = bpf_get_netns_cookie(ctx);
	if (inet) {
		set_inet(local.address, ctx->src_ip4);
	} else {
		local.address[0] = ctx->src_ip6[0];
		local.address[1] = ctx->src_ip6[1];
		local.address[2] = ctx->src_ip6[2];
		local.address[3] = ctx->src_ip6[3];
	}
	local.port = ctx->src_port;
	local.protocol = ctx->protocol;
	normalise(&local);
	add_listener(state, &local);
	return 1;
}

static __always_inline int on_release(struct bpf_sock *ctx)
{
	struct socket_state *state = bpf_sk_storage_get(MAP(sockets), ctx, 0, 0);

	if (state && (state->flags & SOCKET_BOUND))
		drop_listener(state);
	return 1;
}

#endif
