/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Emits frames at socket calls, and as threads and processes are started. */
#ifndef EGRESSMON_CALLS_H
#define EGRESSMON_CALLS_H

#include "creator.bpf.h"
#include "running_test.bpf.h"

/*
 * Emit the current thread's frames, with the time `now`: for a call, or for `child` that it
 * starts. Returns false if they are lost; *is_python says whether it runs Python at all.
 */
static __always_inline bool emit_current_frames(u64 now, kernel_task *child, bool *is_python)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	u32 limit = child ? MAX_STARTER_FRAMES : MAX_FRAMES;
	struct slot *slot = take_slot();
	struct python *python;
	bool told = true;

	*is_python = false;
	if (!slot)
		return false;
	python = begin_walk(slot, task, child, now, limit);
	if (python) {
		*is_python = true;
		slot->record.event.status = walk_frames(slot, find_frames(slot, task));
		find_test(slot, python);
		told = emit_frames(slot);
		if (child)
			inherit_python(slot, python, child);
		else if (told)
			emit_creators(slot);
	}
	leave_slot(slot);
	return told;
}

/* Emit the frames at a call, and let the socket's `state` refer to them. */
static __always_inline void emit_call_frames(struct socket_state *state)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	u64 now = bpf_ktime_get_boot_ns();
	bool is_python;

	state->frames_ns = 0;
	state->flags &= ~SOCKET_FRAMES_LOST;
	if (READ(task, flags) & (TASK_IO_WORKER | TASK_KERNEL_THREAD))
		return;
	if (!emit_current_frames(now, NULL, &is_python)) {
		state->flags |= SOCKET_FRAMES_LOST;
		count(COUNT_MISSED_FRAMES, 1);
	} else if (is_python) {
		state->frames_ns = now;
	}
}

/* For the same calls as on_address() in flow.bpf.h, just before it emits them. */
static __always_inline void frames_at_address(struct bpf_sock_addr *ctx, u32 kind, bool inet,
					      bool inside)
{
	struct socket_state *state;
	struct peer_key key = {};

	if (!inside && !is_ours_outside(ctx->sk))
		return;
	state = bpf_sk_storage_get(MAP(sockets), ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return;
	read_peer(ctx, inet, &key.peer);
	if (inside && canary_flags(&key.peer))
		return;
	if (kind == KIND_SENDMSG && key.peer.port != DNS_PORT) {
		key.cookie = bpf_get_socket_cookie(ctx);
		if (!key.peer.port || is_aimed(&state->peer, &key.peer))
			return;
		if (is_known_peer(&key)) {
			state->frames_ns =
				0; /* in case the peer is evicted before on_address() */
			return;
		}
	}
	emit_call_frames(state);
}

static __always_inline void frames_at_creation(struct bpf_sock *ctx)
{
	struct socket_state *state;

	if ((ctx->type == SOCK_STREAM && ctx->protocol == PROTOCOL_TCP) ||
	    ctx->protocol == PROTOCOL_UDP)
		return;
	state = bpf_sk_storage_get(MAP(sockets), ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state)
		emit_call_frames(state);
}

/* The current thread, if it is of the scope, starts the thread or process `child`. */
static __always_inline void frames_at_start(kernel_task *child)
{
	bool is_python;

	if (!in_lineage(bpf_get_current_pid_tgid() >> 32))
		return;
	if (!emit_current_frames(bpf_ktime_get_boot_ns(), child, &is_python))
		count(COUNT_MISSED_FRAMES, 1);
}

#endif
