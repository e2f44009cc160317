/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The few fields of the kernel's internal structures that the probes read.
 * bcc.py reads this file too, and the architecture's: one KERNEL_FIELD a line.
 */
#ifndef EGRESSMON_KERNEL_H
#define EGRESSMON_KERNEL_H

#include "portable.h"
#include "event.h"
#include "architecture.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2

/* include/linux/sched.h */
#define TASK_IO_WORKER 0x10
#define TASK_KERNEL_THREAD 0x200000

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

KERNEL_STRUCT(file)
{
	KERNEL_FIELD(file, KERNEL_STRUCT(inode) *, f_inode);
};

/* As much of it as there is on every architecture; pairs of a kind and a value. */
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
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(nsproxy) *, nsproxy);
	KERNEL_FIELD(task_struct, KERNEL_STRUCT(cred) *, cred);
	KERNEL_FIELD(task_struct, command_name, comm);
};

KERNEL_STRUCT(linux_binprm)
{
	KERNEL_FIELD(linux_binprm, const char *, filename);
};

#ifndef EGRESSMON_BCC
#pragma clang attribute pop
#endif

/* Not typedefs: libbpf looks for those by their own names. */
#define kernel_task KERNEL_STRUCT(task_struct)
#define kernel_program KERNEL_STRUCT(linux_binprm)

#endif
