/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The few fields of the kernel's internal structures that the probes read.
 * bcc.py parses this file and the architecture's: each KERNEL_FIELD on a line of its own.
 */
#ifndef EGRESSMON_KERNEL_H
#define EGRESSMON_KERNEL_H

#include "portable.bpf.h"
#include "event.h"
#include "architecture.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3

/* include/linux/sched.h */
#define TASK_IO_WORKER 0x10
#define TASK_KERNEL_THREAD 0x200000

/* The beginning of struct sock_cgroup_data. It is embedded, so no offset is looked up. */
struct socket_cgroup {
	u64 cgroup;
};

#ifndef EGRESSMON_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

KERNEL_STRUCT(super_block)
{
	KERNEL_FIELD(super_block, u32, s_dev);
};

KERNEL_STRUCT(inode)
{
	KERNEL_FIELD(inode, KERNEL_STRUCT(super_block) *, i_sb);
	KERNEL_FIELD(inode, unsigned long, i_ino);
};

struct path___read {
	void *mnt;
	void *dentry;
};

KERNEL_STRUCT(file)
{
	KERNEL_FIELD(file, KERNEL_STRUCT(inode) *, f_inode);
	KERNEL_FIELD(file, struct path___read, f_path);
	KERNEL_FIELD(file, void *, private_data);
};

KERNEL_STRUCT(fdtable)
{
	KERNEL_FIELD(fdtable, KERNEL_STRUCT(file) **, fd);
};

KERNEL_STRUCT(files_struct)
{
	KERNEL_FIELD(files_struct, KERNEL_STRUCT(fdtable) *, fdt);
};

/* A pid has a number in each pid namespace; the first is in the initial one. */
struct upid___read {
	int nr;
	void *ns;
};

typedef struct upid___read pid_numbers[1];

KERNEL_STRUCT(pid)
{
	KERNEL_FIELD(pid, unsigned int, level);
	KERNEL_FIELD(pid, pid_numbers, numbers);
};

/* include/net/sock.h: a struct sock begins with it. */
KERNEL_STRUCT(sock_common)
{
	KERNEL_FIELD(sock_common, u16, skc_family);
	KERNEL_FIELD(sock_common, unsigned char, skc_state);
};

typedef void *socket_list[1];

/* net/core/sock_reuseport.c */
KERNEL_STRUCT(sock_reuseport)
{
	KERNEL_FIELD(sock_reuseport, u16, num_socks);
	KERNEL_FIELD(sock_reuseport, socket_list, socks);
};

KERNEL_STRUCT(sock)
{
	KERNEL_FIELD(sock, KERNEL_STRUCT(pid) *, sk_peer_pid);
	KERNEL_FIELD(sock, KERNEL_STRUCT(sock_reuseport) *, sk_reuseport_cb);
	KERNEL_FIELD(sock, struct socket_cgroup, sk_cgrp_data);
	KERNEL_FIELD(sock, void *, sk_socket);
	KERNEL_FIELD(sock, u8, sk_kern_sock);
};

KERNEL_STRUCT(socket)
{
	KERNEL_FIELD(socket, void *, file);
	KERNEL_FIELD(socket, KERNEL_STRUCT(sock) *, sk);
};

KERNEL_STRUCT(dentry)
{
	KERNEL_FIELD(dentry, KERNEL_STRUCT(inode) *, d_inode);
};

struct sockaddr_un___read {
	u16 sun_family;
};

typedef struct sockaddr_un___read unix_names[1];

KERNEL_STRUCT(unix_address)
{
	KERNEL_FIELD(unix_address, int, len);
	KERNEL_FIELD(unix_address, unix_names, name);
};

/* Its first field is a struct sock. */
KERNEL_STRUCT(unix_sock)
{
	KERNEL_FIELD(unix_sock, KERNEL_STRUCT(unix_address) *, addr);
	KERNEL_FIELD(unix_sock, struct path___read, path);
	KERNEL_FIELD(unix_sock, void *, peer);
};

KERNEL_STRUCT(sk_buff)
{
	KERNEL_FIELD(sk_buff, void *, dev);
	KERNEL_FIELD(sk_buff, u64, _skb_refdst);
	KERNEL_FIELD(sk_buff, unsigned int, end);
	KERNEL_FIELD(sk_buff, unsigned char *, head);
};

/* include/net/route.h: an IPv4 packet's way, which sk_buff._skb_refdst leads to. */
KERNEL_STRUCT(rtable)
{
	KERNEL_FIELD(rtable, unsigned int, rt_flags);
};

/* Its first field is a struct sock. */
KERNEL_STRUCT(inet_connection_sock)
{
	KERNEL_FIELD(inet_connection_sock, void *, icsk_ulp_ops);
};

/* It lies at the end of a packet's head: sk_buff.head + sk_buff.end. */
KERNEL_STRUCT(skb_shared_info)
{
	KERNEL_FIELD(skb_shared_info, u8, tx_flags);
};

KERNEL_STRUCT(io_kiocb)
{
	KERNEL_FIELD(io_kiocb, u8, opcode);
};

/* Pairs of a kind and a value; as many as every architecture has. */
#define AUXILIARY_WORDS 44
typedef unsigned long auxiliary_vector[AUXILIARY_WORDS];

KERNEL_STRUCT(mm_struct)
{
	KERNEL_FIELD(mm_struct, KERNEL_STRUCT(file) *, exe_file);
	KERNEL_FIELD(mm_struct, unsigned long, arg_start);
	KERNEL_FIELD(mm_struct, unsigned long, arg_end);
	KERNEL_FIELD(mm_struct, unsigned long, env_start);
	KERNEL_FIELD(mm_struct, unsigned long, env_end);
	KERNEL_FIELD(mm_struct, unsigned long, start_stack);
	KERNEL_FIELD(mm_struct, auxiliary_vector, saved_auxv);
};

typedef char command_name[COMM_SIZE];

/* atomic_t */
struct counter___read {
	int counter;
};

KERNEL_STRUCT(signal_struct)
{
	KERNEL_FIELD(signal_struct, struct counter___read, live);
	KERNEL_FIELD(signal_struct, int, group_exit_code);
};

KERNEL_STRUCT(ns_common)
{
	KERNEL_FIELD(ns_common, unsigned int, inum);
};

KERNEL_STRUCT(mnt_namespace)
{
	KERNEL_FIELD(mnt_namespace, KERNEL_STRUCT(ns_common), ns);
};

KERNEL_STRUCT(user_namespace)
{
	KERNEL_FIELD(user_namespace, KERNEL_STRUCT(ns_common), ns);
};

KERNEL_STRUCT(nsproxy)
{
	KERNEL_FIELD(nsproxy, KERNEL_STRUCT(mnt_namespace) *, mnt_ns);
};

KERNEL_STRUCT(cred)
{
	KERNEL_FIELD(cred, KERNEL_STRUCT(user_namespace) *, user_ns);
};

/* A cgroup's id is that of its folder in cgroupfs. */
KERNEL_STRUCT(kernfs_node)
{
	KERNEL_FIELD(kernfs_node, u64, id);
};

KERNEL_STRUCT(cgroup_root)
{
	KERNEL_FIELD(cgroup_root, int, hierarchy_id);
};

KERNEL_STRUCT(cgroup)
{
	KERNEL_FIELD(cgroup, KERNEL_STRUCT(kernfs_node) *, kn);
	KERNEL_FIELD(cgroup, KERNEL_STRUCT(cgroup_root) *, root);
};

KERNEL_STRUCT(css_set)
{
	KERNEL_FIELD(css_set, KERNEL_STRUCT(cgroup) *, dfl_cgrp);
};

KERNEL_STRUCT(fs_struct)
{
	KERNEL_FIELD(fs_struct, struct path___read, root);
};

KERNEL_STRUCT(task_struct)
{
	KERNEL_FIELD(task_struct, unsigned int, flags);
	KERNEL_FIELD(task_struct, void *, stack);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(thread_struct), thread);
	KERNEL_FIELD(task_struct, int, pid);
	KERNEL_FIELD(task_struct, int, tgid);
	KERNEL_FIELD(task_struct, int, exit_code);
	KERNEL_FIELD(task_struct, u64, start_boottime);
	KERNEL_FIELD(task_struct, u32, self_exec_id);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(task_struct) *, real_parent);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(task_struct) *, group_leader);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(signal_struct) *, signal);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(mm_struct) *, mm);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(files_struct) *, files);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(fs_struct) *, fs);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(nsproxy) *, nsproxy);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(cred) *, cred);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(pid) *, thread_pid);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(css_set) *, cgroups);
	KERNEL_FIELD(task_struct, command_name, comm);
};

KERNEL_STRUCT(linux_binprm)
{
	KERNEL_FIELD(linux_binprm, const char *, filename);
};

#ifndef EGRESSMON_BCC
#pragma clang attribute pop
#endif

/* Macros, because libbpf would look for a kernel type with a typedef's name. */
#define kernel_task KERNEL_STRUCT(task_struct)
#define THREAD_POINTER(task) READ(task, THREAD_POINTER_FIELD)
#define kernel_group KERNEL_STRUCT(sock_reuseport)
#define kernel_program KERNEL_STRUCT(linux_binprm)
#define kernel_sock KERNEL_STRUCT(sock)

#endif
