"""One process, and what it runs or ran."""

import os
from itertools import count
from typing import TypeAlias

from egressmon.attribution.descent import UNKNOWN, Descent
from egressmon.events.model import Escape, Traffic
from egressmon.evidence.records.code import ClaimRecord
from egressmon.values import dataclass, field

GONE = "its file has that name no more, or was replaced"
LOST = "what the kernel told of it was lost"
SERIALS = count(1)
ANY = -1
"""As `exec_id`: the one that the process's first event has."""
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
Caused: TypeAlias = Traffic | Escape
"""The events whose records name the process behind them."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a process runs, or ran before; `argv` is sanitised."""

    exe: str | None = None
    argv: list[str] | None = None
    argv_cut: bool = False


NO_PROGRAM = Program()


@dataclass(slots=True)
class Process:
    """One process as last known; `argv` is sanitised."""

    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str
    exe: str | None = None
    exe_claimed: str | None = None
    """Why the command may have made the executable up; None if it cannot have."""
    preloaded: str | None = None
    """Why other code than the program's may be preloaded; None if there is no sign."""
    argv: list[str] | None = None
    argv_cut: bool = False
    """Whether the argument list was longer than what is kept."""
    descent: Descent = UNKNOWN
    exec_id: int = 0
    """The number of the program among those it ran, as the kernel counts execs."""
    alive: bool = True
    cgroup: int = 0
    """The id of its cgroup, as its last event has it; 0: unknown."""
    pid_inside: int | None = None
    """Its pid in its own pid namespace, if that is another number."""
    inside: str | None = None
    """The first process in that namespace, as far as is known; None: in none."""
    earlier: tuple[tuple[int, Program], ...] = ()
    """What it ran before, by `exec_id`: a socket may be older than the program."""
    mounts: int = 0
    """The number of its mount namespace; 0: unknown."""
    helper: str | None = None
    """Which helper of container engines it runs; None: it is none."""
    is_machines: bool = False
    """Whether it was there before, and sees the machine's own root folder."""
    serial: int = field(default_factory=SERIALS.__next__, compare=False, repr=False)
    """A number of its own. Only `alive` ever changes in what has it."""

    @property
    def program(self) -> Program:
        """The program that it runs now."""
        if self.exe is None and self.argv is None and not self.argv_cut:
            return NO_PROGRAM
        return Program(self.exe, self.argv, self.argv_cut)

    def claims(self) -> list[ClaimRecord]:
        """Return the claims about its program: what the command could have made up."""
        why = self.exe_claimed or self.preloaded
        return [ClaimRecord("process.exe", why)] if why is not None else []


def program_at(process: Process | None, event: Caused) -> tuple[Program, str | None]:
    """Return what `process` ran as `event` happened, and why that is not known."""
    if process is None:
        return NO_PROGRAM, "the process began before or outside the scope, or " + LOST
    if process.exec_id == event.exec_id:
        program = process.program
    else:
        program = dict(process.earlier).get(event.exec_id, NO_PROGRAM)
    return program, None if program.exe is not None else f"what it runs: {LOST}"


def first_inside(process: Process, before: Process | None) -> str | None:
    """Return the name of the pid namespace of its own in which `process` is, if any.

    `before` is the process that it was, or that began it.
    """
    # A pid and clock ticks since boot, as /proc/PID/stat has them: none else has both,
    # while numbers of namespaces are used again. What enters from outside is another.
    if process.pid_inside is None:
        return None
    if before is not None and before.inside is not None:
        return before.inside
    return f"{process.pid}.{process.start_ns // TICK_NS}"


def number_inside(pid: int, pid_inside: int) -> int | None:
    """Return the pid inside, if it is another number than outside."""
    return pid_inside if pid_inside not in {0, pid} else None
