"""The processes of the scope, built from the kernel's fork, exec and exit events."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Protocol, TypeAlias

from egressmon.attribution.descent import (
    UNKNOWN,
    Descent,
    of_child,
    of_program,
    with_step,
)
from egressmon.attribution.executables import Executables, why_preloaded
from egressmon.attribution.existing import Existing
from egressmon.attribution.forgetting import forgettable, unfinished
from egressmon.attribution.helpers import helper_of
from egressmon.attribution.mount_ages import MountAges
from egressmon.clock import ahead_ns
from egressmon.events.model import (
    FLAG_OWNERLESS,
    FLAG_UNASKED,
    CgroupChanged,
    Environment,
    Escape,
    Executed,
    Exited,
    Forked,
    Traffic,
)
from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.code import ClaimRecord
from egressmon.evidence.records.traffic import Origin
from egressmon.files.beginning import Beginning
from egressmon.sanitise import sanitise_argv
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.text import from_bytes
from egressmon.values import dataclass, field, replace

_OWNERLESS = (
    "the kernel named no owner of the packet's socket: a kernel thread made it, or "
    "somebody outside the scope"
)
_UNASKED = "the kernel sent it by itself, by a socket that no process has"
_MAX_ENDED = 4096
_MAX_VIEWERS = 4
_MAX_ANCESTORS = 32
_MAX_ARGUMENTS = 512
_MAX_PROGRAMS = 8  # of each process
_MAX_COMMANDS = 1024
_MAX_COMMAND = 1024


GONE = "its file has that name no more, or was replaced"
_ANY = -1
"""As `exec_id`: the one that the process's first event has."""
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


_SERIALS = count(1)
LOST = "what the kernel told of it was lost"
Caused: TypeAlias = Traffic | Escape
"""The events whose records name the process behind them."""


class Containers(Protocol):
    """Knows which containers there are, by their cgroups."""

    def on_change(self, event: CgroupChanged) -> None:
        """Follow cgroups that come and go."""
        ...

    def key_of(self, cgroup: int, *, inside: str | None) -> str | None:
        """Return the key of the container that a cgroup is of; None: of none.

        `inside` is the pid namespace of its own that the process is in.
        """
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """What a process runs, or ran before; `argv` is sanitised."""

    exe: str | None = None
    argv: list[str] | None = None
    argv_cut: bool = False


_UNKNOWN = Program()


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
    serial: int = field(default_factory=_SERIALS.__next__, compare=False, repr=False)
    """A number of its own. Only `alive` ever changes in what has it."""

    @property
    def program(self) -> Program:
        """The program that it runs now."""
        if self.exe is None and self.argv is None and not self.argv_cut:
            return _UNKNOWN
        return Program(self.exe, self.argv, self.argv_cut)

    def claims(self) -> list[ClaimRecord]:
        """Return the claims about its program: what the command could have made up."""
        why = self.exe_claimed or self.preloaded
        return [ClaimRecord("process.exe", why)] if why is not None else []


class Processes:
    """The processes of the scope by pid; the last that ended are kept, too."""

    def __init__(
        self,
        *,
        proc_is_ours: bool,
        argv: ArgvMode = "masked",
        beginning: Beginning | None = None,
        strangers: Descent = UNKNOWN,
    ) -> None:
        """`argv` is how much of command lines is kept.

        `proc_is_ours` says that /proc has the same pids as the kernel's events.
        `beginning` is the moment before the run, by default now.
        `strangers` is what processes have by descent whose parents are not known.
        """
        self._strangers = strangers
        self._argv: ArgvMode = argv
        beginning = beginning or Beginning()
        self._known: dict[int, Process] = {}
        self._ended: OrderedDict[int, int] = OrderedDict()
        self._commands: dict[bytes, list[str]] = {}
        """Command lines without secrets, by the kernel's bytes."""
        self._lineages: dict[int, tuple[int, ...]] = {}
        """What `basis` returns, until anything is learned of any process."""
        self._executables = Executables(beginning, proc_is_ours=proc_is_ours)
        self.proc_is_ours = proc_is_ours
        self.mount_ages = MountAges()
        self.helpers: frozenset[str] = frozenset()
        """Which helpers of container engines were seen."""
        self.containers: Containers | None = None
        """None: which containers there are is not asked."""
        self.is_part = False
        """Whether only what some of the containers do is recorded."""
        self._missing: dict[int, int] = {}
        """Those that were gone at the last sweep, with their serial numbers."""

    def on_cgroup(self, event: CgroupChanged) -> None:
        """Follow cgroups that come and go."""
        if self.containers is not None:
            self.containers.on_change(event)

    def container_of(self, process: Process | None, cgroup: int = 0) -> str | None:
        """Return the key of the container in which a process is, or was.

        `cgroup` is where it was at a call; 0: where its last event has it.
        """
        number = cgroup or (process.cgroup if process is not None else 0)
        if self.containers is None or not number:
            return None
        inside = process.inside if process is not None else None
        return self.containers.key_of(number, inside=inside)

    def forked(self, event: Forked) -> Process:
        """Add a child process, which runs the program of its parent, and return it.

        If an event of the parent was lost, its program is unknown.
        """
        parent = self._parent(event)
        process = Process(
            event.pid, event.start_ns, event.parent, event.uid, event.comm
        )
        process.exec_id = event.exec_id
        process.descent = self._strangers
        if parent is not None:
            process.descent = of_child(parent.descent, parent.exe)
        process.cgroup = event.cgroup
        process.pid_inside = _inside(event.pid, event.pid_inside)
        process.inside = _first_inside(process, parent)
        if parent is not None and parent.exec_id == event.exec_id:
            process.exe = parent.exe
            process.exe_claimed = parent.exe_claimed
            process.preloaded = parent.preloaded
            process.argv = parent.argv
            process.argv_cut = parent.argv_cut
            process.helper = parent.helper
        process.mounts = parent.mounts if parent is not None else 0
        self._know(process)
        return process

    def add_existing(
        self, found: Iterable[Existing], descents: Mapping[int, Descent]
    ) -> None:
        """Add processes that began before they were watched.

        When exactly each began, and the number of its program, is what its first event
        says: it has executed no other since. `descents` is what each has by descent.
        """
        for one in found:
            argv, is_cut = None, False
            if one.arguments is not None:
                argv, is_cut = self._command(one.arguments)
            why = self._executables.why_seen(one.mounts, one.users)
            why = why or (None if one.is_there else GONE)
            process = Process(
                pid=one.pid,
                start_ns=one.ticks * _TICK_NS - ahead_ns(),
                parent=one.parent,
                uid=one.uid,
                comm=one.comm,
                exe=one.exe,
                exe_claimed=why if one.exe is not None else None,
                argv=argv,
                argv_cut=is_cut,
                exec_id=_ANY,
                mounts=one.mounts,
                is_machines=one.is_machines,
                descent=descents.get(one.pid, self._strangers),
                pid_inside=(inside := _inside(one.pid, one.pid_inside)),
                inside=f"m{one.mounts}" if inside is not None else None,
                helper=self._helper_found(one),
            )
            self.mount_ages.note(one.mounts, process.start_ns)
            self._know(process)

    # What was there before is known to a clock tick: its first event says the rest.
    def _meet(self, pid: int, start_ns: int, exec_id: int) -> None:
        process = self._known.get(pid)
        if process is None or process.exec_id != _ANY:
            return
        if 0 <= start_ns - process.start_ns < _TICK_NS:
            known = replace(process, start_ns=start_ns, exec_id=exec_id)
            known.serial = next(_SERIALS)
            self._know(known)

    # The parent, of which the event says which program it runs, and no more.
    def _parent(self, event: Forked) -> Process | None:
        parent = self._known.get(event.parent)
        if parent is not None and parent.exec_id == _ANY:
            return replace(parent, exec_id=event.exec_id)
        return parent

    def _know(self, process: Process) -> None:
        self._ended.pop(process.pid, None)
        self._known[process.pid] = process
        self._lineages.clear()

    def known_status(self, event: Executed) -> os.stat_result | None:
        """Return what stat(2) says of a program that ran before; None: unknown."""
        return self._executables.known_status(event)

    @property
    def looked_up(self) -> int:
        """How many programs were not known from an earlier exec."""
        return self._executables.looked_up

    def executed(self, event: Executed, mapped: str | None = None) -> Process:
        """Record the new program of a process, and return the process.

        `mapped` is the path that the kernel mapped the program from, if known.
        """
        self._meet(event.pid, event.start_ns, event.exec_id - 1)
        argv, is_cut = self._command(event.arguments)
        exe, exe_claimed = self._executables.of(event, mapped)
        process = Process(
            pid=event.pid,
            start_ns=event.start_ns,
            parent=event.parent,
            uid=event.uid,
            comm=event.comm,
            exe=exe,
            exe_claimed=exe_claimed,
            preloaded=why_preloaded(event),
            argv=argv,
            argv_cut=is_cut or event.arguments_size > len(event.arguments),
            exec_id=event.exec_id,
            cgroup=event.cgroup,
            pid_inside=_inside(event.pid, event.pid_inside),
            earlier=self._earlier(event),
            mounts=event.mounts,
            descent=of_program(self._descent(event), exe),
            helper=self._helper(event),
        )
        before = self._known.get(event.pid)
        is_same = before is not None and before.start_ns == event.start_ns
        process.inside = _first_inside(process, before if is_same else None)
        self.mount_ages.note(event.mounts, event.ktime_ns)
        self._know(process)
        return process

    def _descent(self, event: Executed) -> Descent:
        process = self._known.get(event.pid)
        if process is None or process.start_ns != event.start_ns:
            return self._strangers
        return process.descent

    def environment(self, event: Environment) -> None:
        """Learn which step of a CI job a process begins, if its environment tells.

        What started it must be a program that starts steps.
        """
        from egressmon.attribution.steps import (  # noqa: PLC0415 -- only a sidecar's
            starts_steps,
            step_of,
        )

        process, parent = self._known.get(event.pid), self._known.get(event.parent)
        if process is None or process.start_ns != event.start_ns:
            return
        if parent is None or not starts_steps(parent.exe):
            return
        step = step_of(event.content, is_cut=len(event.content) < event.size)
        descent = with_step(process.descent, step)
        if descent is not process.descent:
            changed = replace(process, descent=descent)
            changed.serial = next(_SERIALS)
            self._know(changed)

    def origin(self, event: Traffic) -> tuple[Origin | None, str | None]:
        """Return what `event` belongs to, and why that is not known."""
        if event.flags & FLAG_OWNERLESS or not event.pid:
            return None, "whose it is, is not known"
        self._meet(event.pid, event.start_ns, event.exec_id)
        process = self._known.get(event.pid)
        if process is None or process.start_ns != event.start_ns:
            return None, "its process is not known"
        if process.descent.origin is None:
            return None, "its process began outside what is watched, or " + LOST
        return process.descent.origin, None

    def _helper(self, event: Executed) -> str | None:
        helper = self._executables.helper(event)
        if helper is not None:
            self.helpers |= {helper}
        return helper

    def _helper_found(self, one: Existing) -> str | None:
        if one.exe is None or not one.is_there:
            return None
        # That this is the file that it runs was found out as root.
        helper = helper_of(one.exe, lambda found: _is_at(found, one.exe))
        if helper is not None:
            self.helpers |= {helper}
        return helper

    def helper(self, event: Caused) -> Process | None:
        """Return the process behind `event`, if it is a helper of container engines."""
        process = self._known.get(event.pid)
        if process is None or process.helper is None:
            return None
        self._meet(event.pid, event.start_ns, event.exec_id)
        process = self._known[event.pid]
        is_it = (process.start_ns, process.exec_id) == (event.start_ns, event.exec_id)
        return process if is_it else None

    def is_helper(self, pid: int) -> bool:
        """Tell whether the process with this pid is a helper of container engines."""
        process = self._known.get(pid)
        return process is not None and process.helper is not None

    def users(self, event: Traffic) -> frozenset[int]:
        """Return the user ids of the process behind `event` and of those above it."""
        return frozenset((event.uid, *(one.uid for one in self._upwards(event.pid))))

    # Return the command line, sanitised, and whether words are missing. As commands
    # repeat, they are remembered, but for those in which a secret was masked.
    def _command(self, arguments: bytes) -> tuple[list[str], bool]:
        known = self._commands.get(arguments)
        if known is not None:
            return known, False
        words = arguments.split(b"\0")
        if words and not words[-1]:
            words.pop()
        given = [from_bytes(word) for word in words[:_MAX_ARGUMENTS]]
        argv = sanitise_argv(given, self._argv)
        if argv == given and len(given) == len(words) and len(arguments) < _MAX_COMMAND:
            if len(self._commands) >= _MAX_COMMANDS:
                self._commands.clear()
            self._commands[arguments] = argv
        return argv, len(words) > len(argv)

    def _earlier(self, event: Executed) -> tuple[tuple[int, Program], ...]:
        process = self._known.get(event.pid)
        if process is None or process.start_ns != event.start_ns:
            return ()
        others = (one for one in process.earlier if one[0] != process.exec_id)
        return (*others, (process.exec_id, process.program))[-_MAX_PROGRAMS:]

    def exited(self, event: Exited) -> Process | None:
        """Record the end of a process, and return it; None if it was never seen."""
        process = self._known.get(event.pid)
        if process is None:
            return None
        self._end(process, event.ktime_ns)
        return process

    def _end(self, process: Process, ktime_ns: int) -> None:
        process.alive = False
        self._ended.pop(process.pid, None)
        self._ended[process.pid] = ktime_ns
        if len(self._ended) > _MAX_ENDED:
            self._known.pop(self._ended.popitem(last=False)[0], None)
            self._lineages.clear()

    def forget(self, now_ns: int) -> int:
        """Let go of those that ended long ago, and return how many these are."""
        over = list(forgettable(self._known, self._ended, now_ns))
        for pid in over:
            del self._ended[pid]
            self._known.pop(pid, None)
        if over:
            self._lineages.clear()
        return len(over)

    def done(
        self, now_ns: int, is_there: Callable[[int], bool]
    ) -> Callable[[tuple[int, int]], bool]:
        """Return what tells whether a process, and all that it began, is done.

        It is asked of a pid and of when that process began. One that is not known is
        done if no process has its pid (`is_there`), or a later one.
        """
        acting = unfinished(self._known, self._ended, now_ns)

        def is_done(key: tuple[int, int]) -> bool:
            if key in acting:
                return False
            pid, start_ns = key
            known = self._known.get(pid)
            if known is not None and known.start_ns >= start_ns:
                return True
            return not is_there(pid)

        return is_done

    def sweep(self, is_there: Callable[[int], bool], now_ns: int) -> list[Process]:
        """Take those for ended whose end was lost, and return them.

        `is_there` tells whether any process has a pid. Whoever is gone in two sweeps,
        between which all events were read, will not be told of any more.
        """
        gone = {one.pid: one for one in self.alive() if not is_there(one.pid)}
        lost = [
            one for pid, one in gone.items() if self._missing.get(pid) == one.serial
        ]
        for one in lost:
            del gone[one.pid]
            self._end(one, now_ns)
        self._missing = {pid: one.serial for pid, one in gone.items()}
        return lost

    def get(self, pid: int) -> Process | None:
        """Return the process that has, or last had, the id `pid`."""
        return self._known.get(pid)

    def ancestry(self, process: Process) -> list[str]:
        """Return the command names of the ancestors of `process`, nearest first."""
        names: list[str] = []
        parent = self._known.get(process.parent)
        while parent is not None and len(names) < _MAX_ANCESTORS:
            names.append(parent.comm)
            above = self._known.get(parent.parent)
            parent = None if above is parent else above
        return names

    def lineage(self, event: Traffic) -> tuple[tuple[int, int], ...]:
        """Return the process behind `event` and those that it descends from.

        Each is a pid and when the process began; the nearest is first. Nobody is
        returned for what has no owner.
        """
        if event.flags & FLAG_OWNERLESS or not event.pid:
            return ()
        self._meet(event.pid, event.start_ns, event.exec_id)
        found = [(event.pid, event.start_ns)]
        process = self._known.get(event.pid)
        while process is not None and len(found) <= _MAX_ANCESTORS:
            above = self._known.get(process.parent)
            if above is None or above is process or above.start_ns > process.start_ns:
                break
            found.append((above.pid, above.start_ns))
            process = above
        return tuple(found)

    def basis(self, pid: int) -> tuple[int, ...]:
        """Return all that is known of `pid` and those above it, as serial numbers.

        `actor`, `lineage` and `is_lost` rest on it, for events that are alike else.
        """
        known = self._lineages.get(pid)
        if known is None:
            if len(self._lineages) >= _MAX_ENDED:
                self._lineages.clear()
            known = self._lineages[pid] = tuple(
                process.serial for process in self._upwards(pid)
            )
        return known

    def _upwards(self, pid: int) -> Iterator[Process]:
        process = self._known.get(pid)
        for _ in range(_MAX_ANCESTORS + 2):
            if process is None:
                return
            yield process
            process = self._known.get(process.parent)

    def actor(self, event: Caused) -> tuple[Actor | None, str | None]:
        """Return the process behind `event`, and why it is not wholly known.

        Its program is only named if no event about the process was lost: each flow
        comes with the process's start time and the number of its program.
        """
        if isinstance(event, Traffic) and event.flags & FLAG_OWNERLESS:
            return None, _UNASKED if event.flags & FLAG_UNASKED else _OWNERLESS
        self._meet(event.pid, event.start_ns, event.exec_id)
        if not event.pid:
            return None, "a kernel thread made the socket, for nobody that it names"
        process = self._known.get(event.pid)
        if process is not None and process.start_ns != event.start_ns:
            process = None
        program, why = _program(process, event)
        return Actor(
            pid=event.pid,
            tid=event.tid,
            ppid=process.parent if process else None,
            uid=event.uid,
            comm=event.comm,
            exe=program.exe,
            argv=program.argv,
            argv_cut=program.argv_cut,
            ancestry=self.ancestry(process) if process else [],
            step=process.descent.step if process else None,
            container=self.container_of(process, event.cgroup),
            pid_inside=process.pid_inside if process else None,
        ), why

    def is_own_listener(self, event: Escape) -> bool:
        """Tell whether the scope itself listens where `event` has a socket connected.

        Where only some containers are recorded, that is the same container.
        """
        listener = self._known.get(event.peer)
        if listener is None or not self.is_part:
            return listener is not None
        own = self.container_of(self._known.get(event.pid), event.cgroup)
        return own is not None and own == self.container_of(listener)

    def existing_actor(self, pid: int) -> Actor | None:
        """Return the process `pid` as it was found; None: it is not known."""
        process = self._known.get(pid)
        if process is None:
            return None
        return Actor(
            pid=pid,
            tid=pid,
            ppid=process.parent,
            uid=process.uid,
            comm=process.comm,
            exe=process.exe,
            argv=process.argv,
            argv_cut=process.argv_cut,
            ancestry=self.ancestry(process),
        )

    def is_lost(self, event: Traffic) -> bool:
        """Tell whether events about the process behind `event` were lost.

        Then another process is known by its pid, or another program.
        """
        self._meet(event.pid, event.start_ns, event.exec_id)
        process = self._known.get(event.pid)
        if process is None or event.flags & FLAG_OWNERLESS:
            return False
        if process.start_ns != event.start_ns:
            return True
        known = process.exec_id, *(number for number, _ in process.earlier)
        return event.exec_id not in known

    def viewers(self, pid: int) -> list[int]:
        """Return those that `pid` descends from and that see the same mounts: few."""
        found: list[int] = []
        process = self._known.get(pid)
        mounts = process.mounts if process is not None else 0
        while process is not None and mounts and len(found) < _MAX_VIEWERS:
            process = self._known.get(process.parent)
            if process is None or process.mounts != mounts:
                break
            found.append(process.pid)
        return found

    def is_machines(self, event: Traffic) -> bool:
        """Tell whether `event` is of a program that only the machine's root can run.

        It was there before and is no container's, or it runs as root in the machine's
        own namespaces.
        """
        self._meet(event.pid, event.start_ns, event.exec_id)
        process = self._known.get(event.pid)
        if process is None or event.flags & FLAG_OWNERLESS:
            return False
        if (process.start_ns, process.exec_id) != (event.start_ns, event.exec_id):
            return False
        if process.is_machines:
            return True
        is_known = process.exe is not None and not process.claims()
        return is_known and not event.uid

    def alive(self) -> list[Process]:
        """Return the processes that have not ended."""
        return [process for process in self._known.values() if process.alive]


def _is_at(place: int, path: str | None) -> bool:
    return os.readlink(f"/proc/self/fd/{place}") == path  # noqa: PTH115 -- text out


def _program(process: Process | None, event: Caused) -> tuple[Program, str | None]:
    if process is None:
        return _UNKNOWN, "the process began before or outside the scope, or " + LOST
    if process.exec_id == event.exec_id:
        program = process.program
    else:
        program = dict(process.earlier).get(event.exec_id, _UNKNOWN)
    return program, None if program.exe is not None else f"what it runs: {LOST}"


# A pid and clock ticks since boot, as /proc/PID/stat has them: none else has both,
# while numbers of namespaces are used again. What enters from outside is told apart.
def _first_inside(process: Process, before: Process | None) -> str | None:
    if process.pid_inside is None:
        return None
    if before is not None and before.inside is not None:
        return before.inside
    return f"{process.pid}.{process.start_ns // _TICK_NS}"


# In which number a process is known inside, if it is another than outside.
def _inside(pid: int, pid_inside: int) -> int | None:
    return pid_inside if pid_inside not in {0, pid} else None
