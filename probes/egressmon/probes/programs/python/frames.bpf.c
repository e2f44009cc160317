// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The programs that read Python frames. They are attached to the same hooks as those of
 * egressmon.bpf.c, and before them, so that frames are in the ring before the connection
 * that refers to them. They are a separate object, because bpf_loop() needs Linux 5.17.
 */
#include "process.bpf.h"
#include "calls.bpf.h"

SEC("cgroup/sock_create")
int frames_sock_create(struct bpf_sock *ctx)
{
	frames_at_creation(ctx);
	return 1;
}

SEC("cgroup/connect4")
int frames_connect4(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_CONNECT, true, true);
	return 1;
}

SEC("cgroup/connect6")
int frames_connect6(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_CONNECT, false, true);
	return 1;
}

SEC("cgroup/sendmsg4")
int frames_sendmsg4(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_SENDMSG, true, true);
	return 1;
}

SEC("cgroup/sendmsg6")
int frames_sendmsg6(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_SENDMSG, false, true);
	return 1;
}

SEC("cgroup/connect4")
int frames_root_connect4(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_CONNECT, true, false);
	return 1;
}

SEC("cgroup/connect6")
int frames_root_connect6(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_CONNECT, false, false);
	return 1;
}

SEC("cgroup/sendmsg4")
int frames_root_sendmsg4(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_SENDMSG, true, false);
	return 1;
}

SEC("cgroup/sendmsg6")
int frames_root_sendmsg6(struct bpf_sock_addr *ctx)
{
	frames_at_address(ctx, KIND_SENDMSG, false, false);
	return 1;
}

/*
 * Not at sched_wakeup_new, where forks are emitted: there a lock is held during the walk, for
 * which others would wait.
 */
SEC("raw_tp/sched_process_fork")
int frames_start(struct bpf_raw_tracepoint_args *ctx)
{
	frames_at_start((kernel_task *)ctx->args[1]);
	return 0;
}

/* At the return of PyContext_CopyCurrent(), in the interpreters that the agent attaches to. */
SEC("uretprobe")
int frames_copied(u64 *registers)
{
	remember_creator(registers[REGISTER_RETURNED]);
	return 0;
}

/*
 * At the return of what else makes Contexts, as Context() and Context.copy(): one may get the
 * address of another that is gone, and was not copied from the running code's Context.
 */
SEC("uretprobe")
int frames_made(u64 *registers)
{
	forget_origin(registers[REGISTER_RETURNED]);
	return 0;
}

/* The digest of event.h with which this was compiled; the loader compares it. */
char WIRE[] SEC("wire") = WIRE_DIGEST;

char LICENSE[] SEC("license") = "Dual MIT/GPL";
