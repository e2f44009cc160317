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
    perf_call: int  # the number of the perf_event_open(2) system call
    elf: int  # what an ELF file for it says in e_machine
    registers: tuple[int, ...]  # DWARF's register n is this word of struct pt_regs
    program_counter: int  # the word that holds it
    stack_pointer: int  # by DWARF's numbers, as the next
    frame_pointer: int
    call_is_checked: bool  # whether an instruction can be told for a call (unwind.py)

    @property
    def flag(self) -> str:
        """What tells the compiler of the probes which architecture it is for."""
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
        True,
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
        False,
    ),
}


def this_machine() -> Architecture | None:
    """Return the running machine's architecture; None where it is unknown."""
    return ARCHITECTURES.get(os.uname().machine)
