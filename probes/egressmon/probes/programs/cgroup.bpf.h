/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* In which cgroup a process is, and which cgroups come and go; its pid in a container. */
#ifndef EGRESSMON_CGROUP_H
#define EGRESSMON_CGROUP_H

#include "view.bpf.h"

/* The id of a process in the innermost of its pid namespaces, of which it is a member. */
static __always_inline u32 pid_inside(kernel_task *leader)
{
	KERNEL_STRUCT(pid) *pid = READ(leader, thread_pid);
	struct upid___read numbers = {};

	bpf_probe_read_kernel(&numbers, sizeof(numbers),
			      (const char *)pid + OFFSET(pid, numbers) +
				      READ(pid, level) * sizeof(numbers));
	return numbers.nr;
}

/* Of another task than the current one: a child may begin in another cgroup. */
static __always_inline u64 cgroup_of(kernel_task *task)
{
	return READ(READ(READ(READ(task, cgroups), dfl_cgrp), kn), id);
}

/*
 * Each hierarchy of version 1 has such events, too: the unified one is number 0. The kernel
 * wrote the path for its own tracepoint, from the hierarchy's root.
 */
static __always_inline void on_cgroup(KERNEL_STRUCT(cgroup) * cgroup, const char *path,
				      u32 is_made)
{
	struct cgroup_event *event;
	long size;

	if (READ(READ(cgroup, root), hierarchy_id))
		return;
	event = bpf_ringbuf_reserve(MAP(life), sizeof(*event), 0);
	if (!event) {
		count(COUNT_MISSED_CGROUP, 1);
		return;
	}
	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_CGROUP;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->cgroup = READ(READ(cgroup, kn), id);
	event->is_made = is_made;
	event->spare = 0;
	event->uid = bpf_get_current_uid_gid();
	size = bpf_probe_read_kernel_str(event->path, CGROUP_PATH_SIZE, path);
	event->path_size = size > 0 ? size - 1 : 0;
	submit_life(event);
}

#endif
