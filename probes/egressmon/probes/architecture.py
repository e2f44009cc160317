"""What differs from one processor architecture to the next: only here.

Imports nothing of ours: compile.py reads it while nothing is installed yet.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One processor architecture, by the name that uname(2) gives."""

    machine: str
    bpf_call: int  # the number of the bpf(2) system call
    kernel: str  # its folder below arch/ in the kernel's sources
    headers: tuple[str, ...]  # where Debian puts asm/types.h; its own, and for others


# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
ARCHITECTURES = {
    "x86_64": Architecture(
        "x86_64",
        321,
        "x86",
        ("/usr/include/x86_64-linux-gnu", "/usr/x86_64-linux-gnu/include"),
    ),
    "aarch64": Architecture(
        "aarch64",
        280,
        "arm64",
        ("/usr/include/aarch64-linux-gnu", "/usr/aarch64-linux-gnu/include"),
    ),
}


def this_machine() -> Architecture | None:
    """Return the running machine's architecture; None where it is unknown."""
    return ARCHITECTURES.get(os.uname().machine)
