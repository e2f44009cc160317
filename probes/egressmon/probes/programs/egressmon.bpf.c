// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The entry points. `scope_*` attach to the scope's own cgroup, `root_*` to the root of the
 * hierarchy, and observe only: a socket runs the hooks of the cgroup in which it was made,
 * and of all above it. So what the root's programs see is the scope's as well as what the
 * scope uses from outside. Where a peer is named or a port is taken, the scope's own
 * programs run first. `life_*` attach to the kernel's tracepoints.
 */
#include "traffic.bpf.h"
#include "escape.bpf.h"
#include "step.bpf.h"

/* Attached for a moment, where the agent cannot see the scope's level itself. */
SEC("cgroup/sock_create")
int scope_level(struct bpf_sock *ctx)
{
	find_level();
	return 1;
}

SEC("cgroup/post_bind4")
int scope_post_bind4(struct bpf_sock *ctx)
{
	return on_bind(ctx, true);
}

SEC("cgroup/post_bind6")
int scope_post_bind6(struct bpf_sock *ctx)
{
	return on_bind(ctx, true);
}

SEC("cgroup/connect4")
int scope_connect4(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_CONNECT, true, PLACE_MADE);
}

SEC("cgroup/connect6")
int scope_connect6(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_CONNECT, false, PLACE_MADE);
}

SEC("cgroup/sendmsg4")
int scope_sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_SENDMSG, true, PLACE_MADE);
}

SEC("cgroup/sendmsg6")
int scope_sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_SENDMSG, false, PLACE_MADE);
}

/* A scope that was there before: `found_*` observe it, and `scope_*` the canaries alone. */

SEC("cgroup/post_bind4")
int found_post_bind4(struct bpf_sock *ctx)
{
	on_bind(ctx, true);
	return 1;
}

SEC("cgroup/post_bind6")
int found_post_bind6(struct bpf_sock *ctx)
{
	on_bind(ctx, true);
	return 1;
}

SEC("cgroup/connect4")
int found_connect4(struct bpf_sock_addr *ctx)
{
	return on_found_address(ctx, KIND_CONNECT, true);
}

SEC("cgroup/connect6")
int found_connect6(struct bpf_sock_addr *ctx)
{
	return on_found_address(ctx, KIND_CONNECT, false);
}

SEC("cgroup/sendmsg4")
int found_sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_found_address(ctx, KIND_SENDMSG, true);
}

SEC("cgroup/sendmsg6")
int found_sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_found_address(ctx, KIND_SENDMSG, false);
}

/* Arguments of the tracepoints: include/trace/events/cgroup.h. */

SEC("raw_tp/cgroup_mkdir")
int found_cgroup_made(struct bpf_raw_tracepoint_args *ctx)
{
	on_cgroup((KERNEL_STRUCT(cgroup) *)ctx->args[0], (const char *)ctx->args[1], 1);
	return 0;
}

SEC("raw_tp/cgroup_rmdir")
int found_cgroup_gone(struct bpf_raw_tracepoint_args *ctx)
{
	on_cgroup((KERNEL_STRUCT(cgroup) *)ctx->args[0], (const char *)ctx->args[1], 0);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int found_environment(struct bpf_raw_tracepoint_args *ctx)
{
	on_step((kernel_task *)ctx->args[0]);
	return 0;
}

SEC("cgroup/sock_create")
int root_sock_create(struct bpf_sock *ctx)
{
	on_create(ctx, runs_in_scope());
	return 1;
}

SEC("cgroup/sock_release")
int root_sock_release(struct bpf_sock *ctx)
{
	on_release(ctx);
	return 1;
}

SEC("cgroup/post_bind4")
int root_post_bind4(struct bpf_sock *ctx)
{
	on_bind(ctx, false);
	return 1;
}

SEC("cgroup/post_bind6")
int root_post_bind6(struct bpf_sock *ctx)
{
	on_bind(ctx, false);
	return 1;
}

SEC("cgroup/connect4")
int root_connect4(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_CONNECT, true, PLACE_OUTSIDE);
	return 1;
}

SEC("cgroup/connect6")
int root_connect6(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_CONNECT, false, PLACE_OUTSIDE);
	return 1;
}

SEC("cgroup/sendmsg4")
int root_sendmsg4(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_SENDMSG, true, PLACE_OUTSIDE);
	return 1;
}

SEC("cgroup/sendmsg6")
int root_sendmsg6(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_SENDMSG, false, PLACE_OUTSIDE);
	return 1;
}

SEC("cgroup_skb/egress")
int root_egress(struct __sk_buff *skb)
{
	on_egress(skb);
	return 1;
}

SEC("cgroup_skb/ingress")
int root_ingress(struct __sk_buff *skb)
{
	on_ingress(skb);
	return 1;
}

/*
 * Arguments of the tracepoints: include/trace/events/sched.h. Where tracepoints may
 * be preempted (Linux 7.3), the kernel skips a program that another task on that CPU
 * is in the middle of: 0.8 % of a burst of exits. Therefore forks are seen where a
 * task is woken for the first time, which cannot be preempted; exits once more where
 * the task is freed, which cannot either; execs by two programs.
 */

SEC("raw_tp/sched_wakeup_new")
int life_fork(struct bpf_raw_tracepoint_args *ctx)
{
	on_fork((kernel_task *)ctx->args[0]);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int life_exec(struct bpf_raw_tracepoint_args *ctx)
{
	on_exec((kernel_task *)ctx->args[0], (kernel_program *)ctx->args[2]);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int life_exec_second(struct bpf_raw_tracepoint_args *ctx)
{
	on_exec((kernel_task *)ctx->args[0], (kernel_program *)ctx->args[2]);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int life_exit(struct bpf_raw_tracepoint_args *ctx)
{
	on_exit((kernel_task *)ctx->args[0]);
	return 0;
}

SEC("raw_tp/sched_process_free")
int life_exit_second(struct bpf_raw_tracepoint_args *ctx)
{
	on_free((kernel_task *)ctx->args[0]);
	return 0;
}

/* Arguments of the tracepoint: include/trace/events/syscalls.h. BCC loads it as raw_tp. */
SEC("tp_btf/sys_exit")
int escape_call(u64 *ctx)
{
	on_return((const void *)ctx[0], ctx[1]);
	return 0;
}

SEC("raw_tp/io_uring_submit_req")
int escape_ring(struct bpf_raw_tracepoint_args *ctx)
{
	on_request((const void *)ctx->args[0]);
	return 0;
}

#ifndef EGRESSMON_BCC /* which says "GPL" of what it compiles */
/* Which event.h this was compiled with; the loader compares. */
char WIRE[] SEC("wire") = WIRE_DIGEST;

char LICENSE[] SEC("license") = "Dual MIT/GPL";
#endif
