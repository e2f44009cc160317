/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the hooks of sockets do not see: sockets of families that have none, TUN and TAP
 * devices, and UNIX sockets that a process outside the scope listens at. All of them are
 * looked at as the system call returns: by then the kernel has copied what it was given,
 * and says itself whom a socket is connected to.
 */
#ifndef EGRESSMON_ESCAPE_H
#define EGRESSMON_ESCAPE_H

#include "process.bpf.h"
#include "task.bpf.h"

#define AF_UNIX 1
#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_ALG 38
#define SOCK_PACKET 10 /* with AF_INET: AF_PACKET, net/socket.c __sock_create() */
#define SOCK_TYPE 15
#define TUNSETIFF 0x400454ca /* include/uapi/linux/if_tun.h, on both architectures */
#define SOCKETCALL_SOCKET 1  /* include/uapi/linux/net.h */
#define SOCKETCALL_CONNECT 3
#define RING_CONNECT 16 /* enum io_uring_op */
#define RING_SOCKET 45
#define MAX_TOLD 4096

struct escape {
	u32 what;
	u32 family;
	kernel_sock *socket; /* a UNIX socket's */
};

struct escape_key {
	u64 start_ns;
	u64 subject;
	u32 tgid;
	u32 what;
};

/* What has been told of a process: the same again is no news. */
DEFINE_MAP(told, LRU_HASH, struct escape_key, u8, MAX_TOLD, 0);

/* A call that returned. */
struct returned {
	u64 number;
	u64 first;
	u64 second;
	u64 result;
};

static __always_inline u64 call_register(const void *registers, u32 number)
{
	const u64 *place = registers + number * sizeof(u64);
#ifdef EGRESSMON_BCC
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), place);
	return value;
#else
	/* In place, as the kernel says what `registers` is: this is asked of each call. */
	return *place;
#endif
}

/* The same of 32 bits: the verifier lets no read go beyond the field that it begins in. */
static __always_inline u32 call_half(const void *registers, u32 number)
{
	const u32 *place = registers + number * sizeof(u64);
#ifdef EGRESSMON_BCC
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), place);
	return value;
#else
	return *place;
#endif
}

/* Those that have hooks, or reach no other process and machine. */
static __always_inline bool is_hidden(u32 family)
{
	return family != AF_UNIX && family != AF_INET && family != AF_INET6 &&
	       family != AF_NETLINK && family != AF_ALG;
}

/* Of a call that succeeded: number is a socket, or else what is read means nothing. */
static __always_inline kernel_sock *socket_behind(kernel_task *task, u32 number)
{
	KERNEL_STRUCT(file) **files = FIELD(FIELD(FIELD(task, files), fdt), fd);
	KERNEL_STRUCT(file) *file = NULL;
	KERNEL_STRUCT(socket) * socket;

	bpf_probe_read_kernel(&file, sizeof(file), files + number);
	socket = READ(file, private_data);
	return READ(socket, sk);
}

static __always_inline u32 family_of(kernel_sock *sk)
{
	return READ((KERNEL_STRUCT(sock_common) *)sk, skc_family);
}

/* Whose the UNIX socket at the other end is, and what it is called. */
static __always_inline void describe_peer(struct escape_event *event, kernel_sock *sk)
{
	KERNEL_STRUCT(unix_sock) *peer = READ((KERNEL_STRUCT(unix_sock) *)sk, peer);
	KERNEL_STRUCT(unix_address) *name = READ(peer, addr);
	KERNEL_STRUCT(inode) * inode;
	u32 size = READ(name, len);
	struct path___read path = READ(peer, path);

	inode = READ((KERNEL_STRUCT(dentry) *)path.dentry, d_inode);
	event->inode = READ(inode, i_ino);
	event->device = READ(READ(inode, i_sb), s_dev);
	if (!name || size <= sizeof(u16) || size > sizeof(u16) + UNIX_PATH_SIZE)
		return;
	event->path_size = size - sizeof(u16);
	bpf_probe_read_kernel(event->path, UNIX_PATH_SIZE, (void *)&name->name + sizeof(u16));
}

static __always_inline u32 listener_of(kernel_sock *sk)
{
	KERNEL_STRUCT(pid) *pid = READ(sk, sk_peer_pid);

	return pid ? READ(pid, numbers[0].nr) : 0;
}

/* Neither may be another's later: an address is used again, a number on other disks. */
static __always_inline u64 subject_of(const struct escape *escape)
{
	KERNEL_STRUCT(unix_sock) * peer;
	KERNEL_STRUCT(inode) * inode;
	struct path___read path;

	if (!escape->socket)
		return escape->family;
	peer = READ((KERNEL_STRUCT(unix_sock) *)escape->socket, peer);
	path = READ(peer, path);
	if (!path.dentry)
		return (u64)READ(peer, addr);
	inode = READ((KERNEL_STRUCT(dentry) *)path.dentry, d_inode);
	return (u64)path.dentry ^ READ(inode, i_ino) << 40;
}

static __always_inline bool is_news(struct escape_key *key, const struct escape *escape,
				    kernel_task *task)
{
	u8 one = 1;

	key->start_ns = READ(READ(task, group_leader), start_boottime);
	key->subject = subject_of(escape);
	key->tgid = READ(task, tgid);
	key->what = escape->what;
	return !bpf_map_update_elem(MAP(told), key, &one, BPF_NOEXIST);
}

static __always_inline void emit_escape(kernel_task *task, const struct escape *escape)
{
	struct escape_event *event;
	struct escape_key key = {};

	if (!is_news(&key, escape, task))
		return;
	event = has_room(MAP(life), RING_FOR_ESCAPES)
			? bpf_ringbuf_reserve(MAP(life), sizeof(*event), 0)
			: NULL;
	if (!event) {
		bpf_map_delete_elem(MAP(told), &key);
		count(COUNT_LOST_ESCAPE, 1);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->ktime_ns = bpf_ktime_get_boot_ns();
	event->kind = KIND_ESCAPE;
	event->tgid = key.tgid;
	event->start_ns = key.start_ns;
	event->exec_id = READ(task, self_exec_id);
	event->cgroup = bpf_get_current_cgroup_id();
	event->tid = READ(task, pid);
	event->uid = bpf_get_current_uid_gid();
	event->what = escape->what;
	event->family = escape->family;
	bpf_probe_read_kernel(event->comm, COMM_SIZE, &task->comm);
	if (escape->socket) {
		event->peer = listener_of(escape->socket);
		describe_peer(event, escape->socket);
	}
	submit_life(event);
}

static __always_inline void emit_socket_escape(kernel_task *task, u32 family)
{
	struct escape escape = {.what = ESCAPE_SOCKET, .family = family};

	emit_escape(task, &escape);
}

/* Whether who listens may be another than those that are recorded. */
static __always_inline bool is_another(kernel_task *task, u32 listener)
{
	struct settings *set = settings_set();
	u32 own = READ(task, tgid);

	return !in_lineage(listener) || (set && set->is_part && listener != own);
}

/* Whom a UNIX socket is connected to. */
static __always_inline void on_connected(kernel_task *task, u32 number)
{
	struct escape escape = {.what = ESCAPE_UNIX, .family = AF_UNIX};

	escape.socket = socket_behind(task, number);
	if (!escape.socket || family_of(escape.socket) != AF_UNIX)
		return;
	if (is_another(task, listener_of(escape.socket)))
		emit_escape(task, &escape);
}

/* The family that a socket is made of, if it has no hooks; else 0. */
static __always_inline u32 hidden_family(u32 family, u32 type)
{
	if (family == AF_INET && (type & SOCK_TYPE) == SOCK_PACKET)
		return AF_PACKET;
	return is_hidden(family) ? family : 0;
}

/* A socket that was made: where its call's arguments may be others, the socket says it. */
static __always_inline void on_made(kernel_task *task, const struct returned *call)
{
	u32 family = hidden_family(call->first, call->second);

	if (CALL_FIRST_IS_EARLY) {
		family = family_of(socket_behind(task, call->result));
		if (!is_hidden(family))
			return;
	}
	emit_socket_escape(task, family);
}

/* socketcall(2), whose arguments lie in memory: the kernel's socket says what it is. */
static __always_inline void on_socketcall(kernel_task *task, const struct returned *call)
{
	u32 number = 0;
	u32 family;

	if (call->first == SOCKETCALL_SOCKET) {
		family = family_of(socket_behind(task, call->result));
		if (is_hidden(family))
			emit_socket_escape(task, family);
	} else if (call->first == SOCKETCALL_CONNECT) {
		bpf_probe_read_user(&number, sizeof(number), (void *)call->second);
		on_connected(task, number);
	}
}

/* Whether a call is what its arguments can tell to be harmless. */
static __always_inline bool is_harmless(const struct returned *call, u32 socket, u32 connect)
{
	if (call->number == socket)
		return !CALL_FIRST_IS_EARLY && !hidden_family(call->first, call->second);
	if (call->number == connect)
		return call->result != 0;
	return call->second != TUNSETIFF && call->number != COMPAT_SOCKETCALL;
}

static __always_inline void on_call(const struct returned *call, const void *registers,
				    bool compat)
{
	kernel_task *task;
	struct escape tun = {.what = ESCAPE_TUN};

	if (!in_lineage(bpf_get_current_pid_tgid() >> 32))
		return;
	task = current_task();
	if (compat != !!CALL_IS_COMPAT(task, registers))
		return; /* the number means something else */
	if (call->number == (compat ? COMPAT_SOCKET : CALL_SOCKET))
		on_made(task, call);
	else if (call->number == (compat ? COMPAT_CONNECT : CALL_CONNECT))
		on_connected(task, call->first);
	else if (compat && call->number == COMPAT_SOCKETCALL)
		on_socketcall(task, call);
	else
		emit_escape(task, &tun);
}

/* Runs at each system call of the machine: most must pass at once. */
static __always_inline void on_return(const void *registers, u64 result)
{
	struct returned call = {.result = result};

	if ((long)result < 0)
		return;
	call.number = CALL_NUMBER(registers);
	if (IS_NATIVE(call.number)) {
		call.first = call_register(registers, CALL_FIRST);
		call.second = (u32)call_register(registers, CALL_SECOND);
		if (!is_harmless(&call, CALL_SOCKET, CALL_CONNECT))
			on_call(&call, registers, false);
	} else if (IS_COMPAT_CALL(call.number)) {
		call.first = (u32)call_register(registers, COMPAT_FIRST);
		call.second = (u32)call_register(registers, COMPAT_SECOND);
		if (!is_harmless(&call, COMPAT_SOCKET, COMPAT_CONNECT))
			on_call(&call, registers, true);
	}
}

/*
 * What a process submits to io_uring, whose calls are none. What was given is in the
 * request by then (struct io_socket, io_connect: behind a pointer to the file), but for
 * an address, which is copied later: whom a UNIX socket is connected to is not known.
 */
static __always_inline void on_request(const void *request)
{
	struct escape escape = {.what = ESCAPE_RING};
	u32 words[2] = {};
	u64 address = 0;
	u16 family = 0;
	u8 code;

	if (!in_lineage(bpf_get_current_pid_tgid() >> 32))
		return;
	code = READ((KERNEL_STRUCT(io_kiocb) *)request, opcode);
	if (code == RING_SOCKET) {
		bpf_probe_read_kernel(words, sizeof(words), request + sizeof(void *));
		escape.family = hidden_family(words[0], words[1]);
		if (!escape.family)
			return;
	} else if (code == RING_CONNECT) {
		bpf_probe_read_kernel(&address, sizeof(address), request + sizeof(void *));
		bpf_probe_read_user(&family, sizeof(family), (void *)address);
		escape.family = family;
		if (family != AF_UNIX)
			return;
	} else {
		return;
	}
	emit_escape((kernel_task *)bpf_get_current_task(), &escape);
}

#endif
