/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Copies the caller's registers and the top of its stack at the call; the agent unwinds
 * them with the tables in the program's files.
 */
#ifndef EGRESSMON_STACK_H
#define EGRESSMON_STACK_H

#include "process.bpf.h"
#include "socket.bpf.h"

#define PAGE 4096 /* what is read at once; the kernel's pages may be larger */
#define PIECE 1024
#define MAX_TEMPLATES 4096
#define MAX_STACK (64 << 20) /* if the end is farther away, it is another stack's */

struct call_site {
	u64 id;
	u64 count;
	struct template_word words[TEMPLATE_WORDS];
};

/* Call sites that the agent has unwound; it removes them when mappings change. */
DEFINE_MAP(templates, LRU_HASH, struct template_key, struct call_site, MAX_TEMPLATES, 0);

struct caller {
	u64 address_space;
	u64 stack;
	u64 size; /* how many bytes of the stack to copy */
	u32 status;
	u64 template;
	u64 registers[REGISTER_COUNT];
};

/* User space's registers are saved at the end of the task's kernel stack. */
static __always_inline void *registers_of(kernel_task *task)
{
	if (HAS_TASK_REGISTERS)
		return (void *)task_registers(current_task_btf());
	return READ(task, stack) + KERNEL_STACK_BYTES - SAVED_REGISTERS_BYTES;
}

/* Determine how much of the stack to copy: at most `wanted` bytes, or up to its end. */
static __always_inline void measure(struct caller *caller, kernel_task *task, u64 wanted)
{
	u64 first = READ(READ(task, mm), start_stack); /* end of the main thread's stack */
	u64 other = THREAD_POINTER(task); /* is above the stack of another thread */
	u64 left = 0;

	if (first - caller->stack < MAX_STACK)
		left = first - caller->stack + 16;
	else if (other - caller->stack < MAX_STACK)
		left = other - caller->stack + 64;
	caller->size = left && left < wanted ? left : wanted;
}

/* Whether the call comes from a known call site, by the words of its template. */
static __always_inline bool match_template(struct caller *caller)
{
	struct template_key key = {.address_space = caller->address_space,
				   .instruction = caller->registers[REGISTER_INSTRUCTION],
				   .stack = caller->stack};
	struct call_site *known = bpf_map_lookup_elem(MAP(templates), &key);

	if (!known)
		return false;
	for (u32 i = 0; i < TEMPLATE_WORDS; i++) {
		u64 word = 0;

		if (i >= known->count)
			break;
		if (bpf_probe_read_user(&word, sizeof(word),
					(void *)(caller->stack + known->words[i].offset)))
			return false;
		if (word != known->words[i].value)
			return false;
	}
	caller->template = known->id;
	return true;
}

static __always_inline void look_at_caller(struct caller *caller, u64 wanted)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	u32 flags = READ(task, flags);

	caller->address_space = (u64)READ(task, mm);
	if (flags & TASK_IO_WORKER) {
		caller->status = STACK_IO_WORKER;
		return;
	}
	if ((flags & TASK_KERNEL_THREAD) || !caller->address_space) {
		caller->status = STACK_KERNEL_THREAD;
		return;
	}
	if (bpf_probe_read_kernel(caller->registers, sizeof(caller->registers),
				  registers_of(task))) {
		caller->status = STACK_UNREADABLE;
		return;
	}
	if (IS_COMPAT(caller->registers)) {
		caller->status = STACK_COMPAT;
		return;
	}
	caller->stack = caller->registers[REGISTER_STACK];
	if (match_template(caller)) {
		caller->status = STACK_KNOWN;
		return;
	}
	measure(caller, task, wanted);
}

/* Whether a helper failed, by the sign of its result: for the verifier no branch. */
static __always_inline u32 has_failed(long result)
{
	return (u64)result >> 63;
}

/*
 * Copy the last `rest` bytes of `room`, fewer than a page, in pieces of halved sizes: for the
 * verifier each size is a constant or 0, without a branch. Returns 1 if that failed.
 */
static __always_inline u32 copy_rest(u8 *target, u64 source, u64 rest, u64 room)
{
	u32 failed = 0;

	asm volatile("" : "+r"(rest));
#pragma clang loop unroll(disable)
	for (u64 half = (room < PAGE ? room : PAGE) / 2; half; half >>= 1) {
		u64 offset = room - half - (rest & (half - 1));

		failed |= has_failed(bpf_probe_read_user(target + offset, rest & half,
							 (void *)(source + offset)));
	}
	return failed;
}

/*
 * Copy the caller's stack into `room` bytes: all at once or, if a page cannot be read, page by
 * page. Such a page was never written, as in a large buffer, or is not the stack's: its bytes
 * stay zero, and `missing` tells of it. Returns how many bytes there are.
 */
static __always_inline u64 copy_stack(u8 *target, const struct caller *caller, u64 room,
				      u32 *missing)
{
	u64 size = caller->size;
	u64 done = PAGE - (caller->stack & (PAGE - 1));
	u32 failed, page = 1;

	*missing = 0;
	if (size > room)
		size = room;
	if (!bpf_probe_read_user(target, size, (void *)caller->stack))
		return size;
	if (done > room)
		done = room;
	failed = has_failed(bpf_probe_read_user(target, done, (void *)caller->stack));
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < room / PAGE; i++) {
		asm volatile("" : "+r"(done));
		if (done > room - PAGE)
			break;
		failed |= has_failed(bpf_probe_read_user(target + done, PAGE,
							 (void *)(caller->stack + done)))
			  << page++;
		done += PAGE;
	}
	*missing = failed | copy_rest(target, caller->stack, room - done, room) << page;
	return size;
}

static __always_inline void fill_stack(struct stack_event *event, const struct caller *caller,
				       u64 now)
{
	kernel_task *task = (kernel_task *)bpf_get_current_task();
	u64 ids = bpf_get_current_pid_tgid();

	event->ktime_ns = now;
	event->kind = KIND_STACK;
	event->tgid = ids >> 32;
	event->tid = ids;
	event->status = caller->status;
	event->address_space = caller->address_space;
	event->template = caller->template;
	event->payload_size = 0;
	event->mounts = 0;
	event->users = 0;
	event->missing = 0;
	/* For a known call site, those of its first call hold, whose stack was copied. */
	if (caller->status != STACK_KNOWN) {
		event->mounts = mounts_of(task);
		event->users = users_of(task);
	}
}

static __always_inline void fill_registers(struct registers *target,
					   const struct caller *caller)
{
	__builtin_memset(target, 0, sizeof(*target));
	__builtin_memcpy(target, caller->registers, sizeof(caller->registers));
}

/* Emit an event without a stack; returns false if the ring has no room. */
static __always_inline bool emit_caller(const struct caller *caller, u64 now)
{
	struct stack_event *event = bpf_ringbuf_reserve(MAP(calls), sizeof(*event), 0);

	if (!event)
		return false;
	fill_stack(event, caller, now);
	submit_call(event);
	return true;
}

/* Emit an event with up to `room` bytes of stack; false if the ring has no room. */
#define EMIT_STACK(caller, now, room)                                                          \
	({                                                                                     \
		struct stack_event *event = bpf_ringbuf_reserve(                               \
			MAP(calls), sizeof(*event) + sizeof(struct registers) + (room), 0);    \
                                                                                               \
		if (event) {                                                                   \
			struct registers *registers = (struct registers *)(event + 1);         \
                                                                                               \
			fill_stack(event, caller, now);                                        \
			fill_registers(registers, caller);                                     \
			event->payload_size = copy_stack((u8 *)(registers + 1), caller, room,  \
							 &event->missing);                     \
			submit_call(event);                                                    \
		}                                                                              \
		event != NULL;                                                                 \
	})

/* Have the verifier merge the paths through look_at_caller(). */
static __always_inline void forget_way(struct caller *caller)
{
	bpf_probe_read_kernel(caller, __builtin_offsetof(struct caller, registers), caller);
}

/* Emit the stack of the current call, and let the socket's `state` refer to it. */
static __always_inline void emit_stack(struct socket_state *state)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct caller caller = {};
	struct settings *set = settings_set();
	bool told = false;

	if (!set || !set->stack_bytes)
		return;
	look_at_caller(&caller, set->stack_bytes);
	forget_way(&caller);
	if (caller.status == STACK_KERNEL_THREAD && state->tgid)
		return; /* as in own() */
	state->stack_ns = 0;
	state->flags &= ~SOCKET_STACK_LOST;
	if (!has_room(MAP(calls), RING_FOR_STACKS))
		told = false;
	else if (!caller.size)
		told = emit_caller(&caller, now);
	else if (caller.size <= PIECE)
		told = EMIT_STACK(&caller, now, PIECE);
	else if (caller.size <= 2 * PIECE)
		told = EMIT_STACK(&caller, now, 2 * PIECE);
	else if (caller.size <= PAGE)
		told = EMIT_STACK(&caller, now, PAGE);
	else if (caller.size <= 2 * PAGE)
		told = EMIT_STACK(&caller, now, 2 * PAGE);
	else
		told = EMIT_STACK(&caller, now, STACK_BYTES);
	if (told) {
		state->stack_ns = now;
	} else {
		state->flags |= SOCKET_STACK_LOST;
		count(COUNT_MISSED_STACK, 1);
	}
}

#endif
