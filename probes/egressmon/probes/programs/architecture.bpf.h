/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Includes what the probes need to know of the processor architecture. */
#ifndef EGRESSMON_ARCHITECTURE_H
#define EGRESSMON_ARCHITECTURE_H

#ifdef __TARGET_ARCH_arm64
#include "arm64.bpf.h"
#else
#include "x86.bpf.h"
#endif

#endif
