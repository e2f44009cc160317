/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What differs from one processor architecture to the next, for the probes. */
#ifndef EGRESSMON_ARCHITECTURE_H
#define EGRESSMON_ARCHITECTURE_H

#ifdef __TARGET_ARCH_arm64
#include "arm64.bpf.h"
#else
#include "x86.bpf.h"
#endif

#endif
