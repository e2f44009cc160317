/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * One source for two engines. Compiled in advance by clang for libbpf, the probes use
 * CO-RE: the compiler records each field of an internal structure by name, and libbpf
 * fills in the running kernel's offset when it loads them. Compiled on the machine by BCC
 * (-DEGRESSMON_BCC), they get the same offsets from the kernel's BTF, as numbers on the
 * command line. So neither engine needs headers of kernel internals.
 *
 * MAP(name) is a map's address. For BCC it is the number MAP_ID_name, which
 * bcc_compile.py replaces by the map's descriptor.
 */
#ifndef EGRESSMON_PORTABLE_H
#define EGRESSMON_PORTABLE_H

#ifdef EGRESSMON_BCC

#include <uapi/linux/bpf.h>

#define SEC(name)

#define SUBPROGRAM static __always_inline /* BCC inlines all functions, */
#define TWO_WAYS 0 /* so that a faster way beside another is too much for the verifier */

#define MAP(name) ((void *)bpf_pseudo_fd(1, MAP_ID_##name))

#define BCC_TABLE_ARRAY "array"
#define BCC_TABLE_HASH "hash"
#define BCC_TABLE_LRU_HASH "lru_hash"
#define BCC_TABLE_PERCPU_ARRAY "percpu_array"

#define DEFINE_MAP(name, map_type, key_type, value_type, entries, flags)                       \
	BPF_F_TABLE(BCC_TABLE_##map_type, key_type, value_type, name, entries, flags)
#define DEFINE_RING(name, bytes) BPF_RINGBUF_OUTPUT(name, (bytes) / PAGE_SIZE)
#define DEFINE_CGROUPS(name, entries) BPF_CGROUP_ARRAY(name, entries)
#define DEFINE_SOCKET_STORAGE(name, value_type) BPF_SK_STORAGE(name, value_type)

/* BCC 0.26 declares it with a 32-bit result. */
static u64 (*socket_cookie)(void *ctx) = (void *)BPF_FUNC_get_socket_cookie;
#define bpf_get_socket_cookie socket_cookie

#define KERNEL_STRUCT(name) union name##___read
#define OFFSET(name, field) OFFSET_##name##_##field
#define KERNEL_FIELD(name, type, field)                                                        \
	struct {                                                                               \
		char before_##field[OFFSET_##name##_##field];                                  \
		type field;                                                                    \
	} __attribute__((packed))

#else

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define MAP(name) (&name)

/*
 * A global function: the verifier checks it once, for any arguments, and not again for each
 * path that calls it. Its arguments must be numbers and the context (Linux 5.6).
 */
#define SUBPROGRAM __attribute__((noinline))
#define TWO_WAYS 1

#define DEFINE_MAP(name, map_type, key_type, value_type, entries, flags)                       \
	struct {                                                                               \
		__uint(type, BPF_MAP_TYPE_##map_type);                                         \
		__uint(max_entries, entries);                                                  \
		__uint(map_flags, flags);                                                      \
		__type(key, key_type);                                                         \
		__type(value, value_type);                                                     \
	} name SEC(".maps")
#define DEFINE_RING(name, bytes)                                                               \
	struct {                                                                               \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                            \
		__uint(max_entries, bytes);                                                    \
	} name SEC(".maps")
#define DEFINE_CGROUPS(name, entries) DEFINE_MAP(name, CGROUP_ARRAY, u32, u32, entries, 0)
#define DEFINE_SOCKET_STORAGE(name, value_type)                                                \
	DEFINE_MAP(name, SK_STORAGE, int, value_type, 0, BPF_F_NO_PREALLOC)

/* libbpf ignores what follows ___, and looks for the kernel's struct `name`. */
#define KERNEL_STRUCT(name) struct name##___read
#define OFFSET(name, field) bpf_core_field_offset(struct name##___read, field)
#define KERNEL_FIELD(name, type, field) type field

#endif

/* Read one field of a kernel structure; zero if it cannot be read. */
#define READ(pointer, field)                                                                   \
	({                                                                                     \
		__typeof__((pointer)->field) value;                                            \
                                                                                               \
		bpf_probe_read_kernel(&value, sizeof(value), &(pointer)->field);               \
		value;                                                                         \
	})

/*
 * Have the verifier forget what it knows of a variable. It follows paths separately as long
 * as they differ in what it knows; after this, they continue as one.
 */
#define FORGET(variable) bpf_probe_read_kernel(&(variable), sizeof(variable), &(variable))

#endif
