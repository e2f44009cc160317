"""All that differs between processor architectures, in one place.

Imports nothing of ours: compile.py runs it by its path, before anything is installed.
"""

import os
import sys
from typing import NamedTuple


class Architecture(NamedTuple):
    """One processor architecture; `machine` is its name in uname(2)."""

    machine: str
    bpf_call: int  # the number of the bpf(2) system call
    kernel: str  # its folder below arch/ in the kernel's sources
    headers: tuple[
        str, ...
    ]  # Debian's folders of asm/: native, and for cross-compiling
    perf_call: int  # the number of the perf_event_open(2) system call
    elf: int  # e_machine in the header of an ELF file for it
    registers: tuple[int, ...]  # [DWARF's register number]: its word in struct pt_regs
    program_counter: int  # its word in struct pt_regs
    stack_pointer: int  # its DWARF register number
    frame_pointer: int  # its DWARF register number
    packages: str  # how Debian and Ubuntu call it in their packages' names

    @property
    def flag(self) -> str:
        """The compiler option that selects this architecture in the probes' source."""
        return f"-D__TARGET_ARCH_{self.kernel}"


# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
ARCHITECTURES = {
    "x86_64": Architecture(
        "x86_64",
        321,
        "x86",
        ("/usr/include/x86_64-linux-gnu", "/usr/x86_64-linux-gnu/include"),
        298,
        62,
        # System V ABI, AMD64 supplement, figure 3.36; arch/x86/include/asm/ptrace.h
        (10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16),
        16,
        7,
        6,
        "amd64",
    ),
    "aarch64": Architecture(
        "aarch64",
        280,
        "arm64",
        ("/usr/include/aarch64-linux-gnu", "/usr/aarch64-linux-gnu/include"),
        241,
        183,
        # DWARF for the Arm 64-bit Architecture, 4.1; struct user_pt_regs
        tuple(range(32)),
        32,
        31,
        29,
        "arm64",
    ),
}


# What uname(2) says to whom setarch(8) had believe in a 32-bit kernel (PER_LINUX32).
_BY_PERSONALITY = {"armv8l": "aarch64", "i686": "x86_64"}


def machine() -> str:
    """Return the name of the running machine's architecture, as uname(2) has it.

    A process of 64 bits is told it as the kernel knows it, whatever setarch(8) says.
    """
    said = os.uname().machine
    return _BY_PERSONALITY.get(said, said) if sys.maxsize >> 32 else said


def this_machine() -> Architecture | None:
    """Return the running machine's architecture, or None if it is not supported."""
    return ARCHITECTURES.get(machine())
