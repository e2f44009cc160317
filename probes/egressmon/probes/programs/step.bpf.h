/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Which step of a CI job a process begins: its environment says so, as the CI system's agent
 * or a container engine, its parent, set it. Read at the exec, when nobody has changed it
 * yet, and of those alone: what they start inherits the step by descent.
 */
#ifndef EGRESSMON_STEP_H
#define EGRESSMON_STEP_H

#include "process.bpf.h"

/* That there is a process matters more. */
#define RING_FOR_STEPS (RING_LIFE_BYTES / 4)

/* The first and the second eight letters of a thread group's name (comm). */
struct name {
	u64 first;
	u64 second;
};

#define NAME_MASK 0x00ffffffffffffff /* of the second eight: the last letter is a zero */

/*
 * The agents of GitHub, GitLab, Buildkite and Jenkins, and what containers are children of:
 * "Runner.Worker", "gitlab-runner", "buildkite-agent", "java"; "containerd-shim", "conmon",
 * and "runc" and "crun", which may not have left their child to one of these yet.
 */
static __always_inline bool starts_steps(const struct name *name)
{
	u64 second = name->second & NAME_MASK;

	switch (name->first) {
	case 0x572e72656e6e7552:		   /* Runner.W */
		return second == 0x72656b726f;	   /* orker */
	case 0x722d62616c746967:		   /* gitlab-r */
		return second == 0x72656e6e75;	   /* unner */
	case 0x74696b646c697562:		   /* buildkit */
		return second == 0x746e6567612d65; /* e-agent */
	case 0x656e6961746e6f63:		   /* containe */
		return second == 0x6d6968732d6472; /* rd-shim */
	case 0x6176616a:			   /* java */
		return !second;
	case 0x6e6f6d6e6f63: /* conmon */
	case 0x636e7572:     /* runc */
	case 0x6e757263:     /* crun */
		return !second;
	}
	return false;
}

static __always_inline void fill_step(struct environment_event *event, kernel_task *task,
				      kernel_task *parent, const struct name *name, u32 room)
{
	unsigned long start = READ(READ(task, mm), env_start);
	u64 size = READ(READ(task, mm), env_end) - start;

	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_ENVIRONMENT;
	event->tgid = READ(task, tgid);
	event->start_ns = READ(READ(task, group_leader), start_boottime);
	event->parent = READ(parent, tgid);
	event->total_size = size > 0xffffffff ? 0xffffffff : size;
	event->spare = 0;
	__builtin_memcpy(event->parent_comm, name, COMM_SIZE);
	if (size > room)
		size = room;
	event->payload_size = size;
	if (room && bpf_probe_read_user(event + 1, size, (void *)start))
		event->payload_size = 0;
}

static __always_inline bool emit_step(kernel_task *task, kernel_task *parent,
				      const struct name *name, u32 room)
{
	struct environment_event *event = NULL;

	if (room == ENVIRONMENT_LARGE)
		event = bpf_ringbuf_reserve(MAP(life), sizeof(*event) + ENVIRONMENT_LARGE, 0);
	else if (room == ENVIRONMENT_SMALL)
		event = bpf_ringbuf_reserve(MAP(life), sizeof(*event) + ENVIRONMENT_SMALL, 0);
	else
		event = bpf_ringbuf_reserve(MAP(life), sizeof(*event), 0);
	if (!event)
		return false;
	fill_step(event, task, parent, name, room);
	submit_life(event);
	return true;
}

/* The current process executes a program. */
static __always_inline void on_step(kernel_task *task)
{
	kernel_task *parent = READ(READ(task, real_parent), group_leader);
	struct name name = {};
	u64 size;

	bpf_probe_read_kernel_str(&name, sizeof(name), &parent->comm);
	if (!starts_steps(&name) || !in_lineage(READ(task, tgid)))
		return;
	size = READ(READ(task, mm), env_end) - READ(READ(task, mm), env_start);
	if (!has_room(MAP(life), RING_FOR_STEPS))
		emit_step(task, parent, &name, 0);
	else if (size > ENVIRONMENT_SMALL)
		emit_step(task, parent, &name, ENVIRONMENT_LARGE);
	else
		emit_step(task, parent, &name, ENVIRONMENT_SMALL);
}

#endif
