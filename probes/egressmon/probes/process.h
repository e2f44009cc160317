/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Process life: who is in the scope, what each one runs, how it ended. */
#ifndef EGRESSMON_PROCESS_H
#define EGRESSMON_PROCESS_H

#include "maps.h"

/*
 * Whether the current process belongs to the scope, by descent or because it
 * is in the scope's cgroup (moved there, or the command before its first exec).
 */
static __always_inline bool in_scope(u32 tgid)
{
	if (in_lineage(tgid))
		return true;
	if (bpf_current_task_under_cgroup(&scope, 0) != 1)
		return false;
	join_lineage(tgid);
	return true;
}

static __always_inline void emit_process(u32 kind, struct task_struct *task, u32 parent,
					 u32 exit_code)
{
	struct process_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count(COUNT_LOST_PROCESS, 1);
		return;
	}
	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->tgid = BPF_CORE_READ(task, tgid);
	event->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	event->parent = parent;
	event->uid = bpf_get_current_uid_gid();
	event->exit_code = exit_code;
	event->spare = 0;
	bpf_core_read(event->comm, COMM_SIZE, &task->comm);
	submit(event);
}

static __always_inline void on_fork(struct task_struct *parent, struct task_struct *child)
{
	u32 parent_tgid = BPF_CORE_READ(parent, tgid);
	u32 tgid = BPF_CORE_READ(child, tgid);

	if (tgid == parent_tgid || tgid != (u32)BPF_CORE_READ(child, pid))
		return; /* a thread */
	if (!in_scope(parent_tgid))
		return;
	join_lineage(tgid);
	emit_process(KIND_FORK, child, parent_tgid, 0);
}

/* Fill a reserved exec event and up to room bytes of arguments behind it. */
static __always_inline void fill_exec(struct exec_event *event, struct task_struct *task,
				      struct linux_binprm *program, u32 room)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	unsigned long end = BPF_CORE_READ(task, mm, arg_end);
	u64 size = end - start;

	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_EXEC;
	event->tgid = BPF_CORE_READ(task, tgid);
	event->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	event->parent = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = bpf_get_current_uid_gid();
	event->inode = BPF_CORE_READ(task, mm, exe_file, f_inode, i_ino);
	event->arguments_size = size > 0xffffffff ? 0xffffffff : size;
	bpf_core_read(event->comm, COMM_SIZE, &task->comm);
	if (bpf_probe_read_kernel_str(event->path, PATH_SIZE,
				      BPF_CORE_READ(program, filename)) < 0)
		event->path[0] = 0;
	if (size > room)
		size = room;
	event->payload_size = size;
	if (bpf_probe_read_user(event + 1, size, (void *)start))
		event->payload_size = 0;
}

static __always_inline void on_exec(struct task_struct *task, struct linux_binprm *program)
{
	struct exec_event *event;
	u64 size;

	if (!in_scope(BPF_CORE_READ(task, tgid)))
		return;
	size = BPF_CORE_READ(task, mm, arg_end) - BPF_CORE_READ(task, mm, arg_start);
	if (size > PAYLOAD_SMALL) {
		event = bpf_ringbuf_reserve(&events, sizeof(*event) + PAYLOAD_LARGE, 0);
		if (event) {
			fill_exec(event, task, program, PAYLOAD_LARGE);
			submit(event);
			return;
		}
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event) + PAYLOAD_SMALL, 0);
	if (!event) {
		count(COUNT_LOST_PROCESS, 1);
		return;
	}
	fill_exec(event, task, program, PAYLOAD_SMALL);
	submit(event);
}

static __always_inline void on_exit(struct task_struct *task)
{
	u32 tgid = BPF_CORE_READ(task, tgid);
	u32 code;

	if (BPF_CORE_READ(task, signal, live.counter) != 0 || !in_lineage(tgid))
		return; /* other threads live on, or not ours */
	bpf_map_delete_elem(&lineage, &tgid);
	code = BPF_CORE_READ(task, signal, group_exit_code);
	if (!code)
		code = BPF_CORE_READ(task, exit_code);
	emit_process(KIND_EXIT, task, BPF_CORE_READ(task, real_parent, tgid), code);
}

#endif
