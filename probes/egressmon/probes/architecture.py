"""What differs from one processor architecture to the next: only here."""

import os
from dataclasses import dataclass

from egressmon.probes.errors import ProbeError


@dataclass(frozen=True, slots=True)
class Architecture:
    """One processor architecture, by the name that uname(2) gives."""

    machine: str
    bpf_call: int  # the number of the bpf(2) system call
    headers: str  # the folder of the kernel's headers below arch/
    multiarch: str  # Debian's folder of headers below /usr/include
    target: str  # the word behind -D__TARGET_ARCH_


# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_KNOWN = (
    Architecture("x86_64", 321, "x86", "x86_64-linux-gnu", "x86"),
    Architecture("aarch64", 280, "arm64", "aarch64-linux-gnu", "arm64"),
)
ARCHITECTURES = {one.machine: one for one in _KNOWN}


def this_machine() -> Architecture:
    """Return the running machine's architecture; raises ProbeError."""
    machine = os.uname().machine
    try:
        return ARCHITECTURES[machine]
    except KeyError:
        raise ProbeError(
            f"egressmon does not know the architecture {machine}",
            f"it runs on {', '.join(ARCHITECTURES)}",
        ) from None
