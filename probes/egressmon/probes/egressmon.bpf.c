// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The entry points. `scope_*` attach to the scope's own cgroup, `root_*` to the
 * root of the hierarchy (observation only: sockets that came from outside the
 * scope run the hooks of the cgroup in which they were made), `life_*` to the
 * kernel's tracepoints.
 */
#include "traffic.h"

SEC("cgroup/sock_create")
int scope_sock_create(struct bpf_sock *ctx)
{
	return on_create(ctx);
}

SEC("cgroup/sock_release")
int scope_sock_release(struct bpf_sock *ctx)
{
	return on_release(ctx);
}

SEC("cgroup/post_bind4")
int scope_post_bind4(struct bpf_sock *ctx)
{
	return on_bind(ctx, true);
}

SEC("cgroup/post_bind6")
int scope_post_bind6(struct bpf_sock *ctx)
{
	return on_bind(ctx, false);
}

SEC("cgroup/connect4")
int scope_connect4(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_CONNECT, true, true);
}

SEC("cgroup/connect6")
int scope_connect6(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_CONNECT, false, true);
}

SEC("cgroup/sendmsg4")
int scope_sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_SENDMSG, true, true);
}

SEC("cgroup/sendmsg6")
int scope_sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_address(ctx, KIND_SENDMSG, false, true);
}

SEC("cgroup_skb/egress")
int scope_egress(struct __sk_buff *skb)
{
	return on_egress(skb);
}

SEC("cgroup_skb/ingress")
int scope_ingress(struct __sk_buff *skb)
{
	return on_ingress(skb);
}

SEC("cgroup/connect4")
int root_connect4(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_CONNECT, true, false);
	return 1;
}

SEC("cgroup/connect6")
int root_connect6(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_CONNECT, false, false);
	return 1;
}

SEC("cgroup/sendmsg4")
int root_sendmsg4(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_SENDMSG, true, false);
	return 1;
}

SEC("cgroup/sendmsg6")
int root_sendmsg6(struct bpf_sock_addr *ctx)
{
	on_address(ctx, KIND_SENDMSG, false, false);
	return 1;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(life_fork, struct task_struct *parent, struct task_struct *child)
{
	on_fork(parent, child);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(life_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	on_exec(task, program);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(life_exit, struct task_struct *task)
{
	on_exit(task);
	return 0;
}

/* Which event.h this was compiled with; the loader compares. */
char WIRE[] SEC("wire") = WIRE_DIGEST;

char LICENSE[] SEC("license") = "Dual MIT/GPL";
