/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Process life: who is in the scope, what each one runs, how it ended. */
#ifndef EGRESSMON_PROCESS_H
#define EGRESSMON_PROCESS_H

#include "maps.bpf.h"
#include "cgroup.bpf.h"

/*
 * Whether the current process belongs to the scope, by descent or because it
 * is in the scope's cgroup (moved there, or the command before its first exec).
 */
static __always_inline bool in_scope(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (in_lineage(tgid))
		return true;
	if (bpf_current_task_under_cgroup(MAP(scope), 0) != 1)
		return false;
	join_lineage(tgid, (kernel_task *)bpf_get_current_task());
	return true;
}

static __always_inline void emit_process(u32 kind, kernel_task *task, u32 parent, u32 exit_code,
					 u32 shares_memory)
{
	struct process_event *event = bpf_ringbuf_reserve(MAP(life), sizeof(*event), 0);

	if (!event) {
		count(COUNT_LOST_PROCESS, 1);
		return;
	}
	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = kind;
	event->tgid = READ(task, tgid);
	event->start_ns = READ(READ(task, group_leader), start_boottime);
	event->parent = parent;
	event->uid = bpf_get_current_uid_gid();
	event->exit_code = exit_code;
	event->exec_id = READ(task, self_exec_id);
	event->shares_memory = shares_memory;
	event->pid_inside = kind == KIND_FORK ? pid_inside(task) : 0;
	event->cgroup = kind == KIND_FORK ? cgroup_of(task) : 0;
	bpf_probe_read_kernel(event->comm, COMM_SIZE, &task->comm);
	submit_life(event);
}

/* Whether a child of the current process has its memory (vfork, CLONE_VM). */
static __always_inline u32 shares_memory(kernel_task *child)
{
	kernel_task *parent = (kernel_task *)bpf_get_current_task();

	return READ(child, mm) == READ(parent, mm);
}

/* The parent is the current process. */
static __always_inline void on_fork(kernel_task *child)
{
	u32 parent = bpf_get_current_pid_tgid() >> 32;
	u32 tgid = READ(child, tgid);

	if (tgid == parent || tgid != (u32)READ(child, pid))
		return; /* a thread */
	if (!in_scope())
		return;
	join_lineage(tgid, child);
	emit_process(KIND_FORK, child, parent, 0, shares_memory(child));
}

/*
 * A number for the name and the mount by which something was opened. Of their addresses,
 * which nobody is to learn, too little is left in it.
 */
static __always_inline u32 place_of(void *name, void *mount)
{
	u64 mixed = (u64)name * 0x9e3779b97f4a7c15 ^ ((u64)mount * 0xc2b2ae3d27d4eb4f >> 7);

	return mixed >> 32;
}

/* Fill a reserved exec event and up to room bytes of arguments behind it. */
static __always_inline void fill_exec(struct exec_event *event, kernel_task *task,
				      kernel_program *program, u32 preload, u32 room)
{
	KERNEL_STRUCT(file) *file = READ(READ(task, mm), exe_file);
	KERNEL_STRUCT(inode) *inode = READ(file, f_inode);
	KERNEL_STRUCT(fs_struct) *fs = READ(task, fs);
	unsigned long start = READ(READ(task, mm), arg_start);
	unsigned long end = READ(READ(task, mm), arg_end);
	u64 size = end - start;

	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_EXEC;
	event->tgid = READ(task, tgid);
	event->start_ns = READ(READ(task, group_leader), start_boottime);
	event->parent = READ(READ(task, real_parent), tgid);
	event->uid = bpf_get_current_uid_gid();
	event->inode = READ(inode, i_ino);
	event->device = READ(READ(inode, i_sb), s_dev);
	event->mounts = mounts_of(task);
	event->users = users_of(task);
	event->preload = preload;
	event->arguments_size = size > 0xffffffff ? 0xffffffff : size;
	event->exec_id = READ(task, self_exec_id);
	event->place = place_of(READ(file, f_path.dentry), READ(file, f_path.mnt));
	event->root = place_of(READ(fs, root.dentry), READ(fs, root.mnt));
	event->pid_inside = pid_inside(READ(task, group_leader));
	event->cgroup = bpf_get_current_cgroup_id();
	bpf_probe_read_kernel(event->comm, COMM_SIZE, &task->comm);
	if (bpf_probe_read_kernel_str(event->path, PATH_SIZE, READ(program, filename)) < 0)
		event->path[0] = 0;
	if (size > room)
		size = room;
	event->payload_size = size;
	if (room && bpf_probe_read_user(event + 1, size, (void *)start))
		event->payload_size = 0;
}

static __always_inline void emit_exec(kernel_task *task, kernel_program *program)
{
	u64 size = READ(READ(task, mm), arg_end) - READ(READ(task, mm), arg_start);
	u32 preload = preload_of(task);
	struct exec_event *event;

	if (size > PAYLOAD_SMALL && has_room(MAP(life), RING_FOR_LONG_ARGUMENTS)) {
		event = bpf_ringbuf_reserve(MAP(life), sizeof(*event) + PAYLOAD_LARGE, 0);
		if (event) {
			fill_exec(event, task, program, preload, PAYLOAD_LARGE);
			submit_now(event);
			return;
		}
	}
	if (has_room(MAP(life), RING_FOR_ARGUMENTS)) {
		event = bpf_ringbuf_reserve(MAP(life), sizeof(*event) + PAYLOAD_SMALL, 0);
		if (event) {
			fill_exec(event, task, program, preload, PAYLOAD_SMALL);
			submit_now(event);
			return;
		}
	}
	event = bpf_ringbuf_reserve(MAP(life), sizeof(*event), 0);
	if (!event) {
		count(COUNT_LOST_PROCESS, 1);
		return;
	}
	fill_exec(event, task, program, preload, 0);
	submit_now(event);
}

/* By the first of the two programs that runs; the other finds that it is told of. */
static __always_inline void on_exec(kernel_task *task, kernel_program *program)
{
	u32 tgid = READ(task, tgid);
	u64 exec_id = READ(task, self_exec_id);
	struct member *member = bpf_map_lookup_elem(MAP(lineage), &tgid);

	if (member) {
		if (member->exec_id == exec_id)
			return;
		member->exec_id = exec_id;
	} else if (!in_scope()) {
		return;
	}
	emit_exec(task, program);
}

static __always_inline void leave_lineage(u32 tgid, kernel_task *task, u32 parent)
{
	u32 code = READ(READ(task, signal), group_exit_code);

	bpf_map_delete_elem(MAP(lineage), &tgid);
	if (!code)
		code = READ(task, exit_code);
	emit_process(KIND_EXIT, task, parent, code, 0);
}

static __always_inline void on_exit(kernel_task *task)
{
	u32 tgid = READ(task, tgid);

	if (READ(READ(task, signal), live.counter) != 0 || !in_lineage(tgid))
		return; /* other threads live on, or not ours */
	leave_lineage(tgid, task, READ(READ(task, real_parent), tgid));
}

/* A process is gone for good: its parent knows, and a grace period has passed. */
static __always_inline void on_free(kernel_task *task)
{
	u32 tgid = READ(task, tgid);
	struct member *member = bpf_map_lookup_elem(MAP(lineage), &tgid);

	if (!member || tgid != (u32)READ(task, pid))
		return; /* told of at its exit, or a thread */
	/* Of one that was there before the scope was watched, the agent knows no exact time. */
	if (!member->start_ns || member->start_ns == READ(task, start_boottime))
		leave_lineage(tgid, task, 0);
}

#endif
