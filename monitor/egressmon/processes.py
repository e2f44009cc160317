"""Who is who: the scope's processes, as the kernel told of them in order."""

from collections import OrderedDict
from dataclasses import dataclass, field

from egressmon.attribution.records import ClaimRecord
from egressmon.beginning import Beginning
from egressmon.events import FLAG_OWNERLESS, DnsPacket, Executed, Exited, Flow, Forked
from egressmon.executables import Executables, why_preloaded
from egressmon.records import Actor
from egressmon.sanitise import sanitise_argv
from egressmon.text import from_bytes

_MAX_ENDED = 4096
_MAX_ANCESTORS = 32
_MAX_ARGUMENTS = 512


@dataclass(slots=True)
class Process:
    """One process as last known; its argv is sanitised."""

    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str
    exe: str | None = None
    exe_claimed: str | None = None
    """Why the executable may be made up; None: it is not."""
    preloaded: str | None = None
    """Why the code in it may not be its program's own; None: it is."""
    argv: list[str] = field(default_factory=list[str])
    argv_cut: bool = False
    """Whether the argument list was longer than what is kept."""
    alive: bool = True

    def claims(self) -> list[ClaimRecord]:
        """Return what of its program the command could have made up."""
        why = self.exe_claimed or self.preloaded
        return [ClaimRecord("process.exe", why)] if why is not None else []


class Processes:
    """The scope's processes by pid; an ended one stays until its pid is needed."""

    def __init__(
        self, *, proc_is_ours: bool, beginning: Beginning | None = None
    ) -> None:
        """With proc_is_ours, /proc names processes by the same pids as the kernel.

        Beginning is the run's; without one, it is now.
        """
        beginning = beginning or Beginning()
        self._known: dict[int, Process] = {}
        self._ended: OrderedDict[int, int] = OrderedDict()
        self._executables = Executables(beginning, proc_is_ours=proc_is_ours)
        self.proc_is_ours = proc_is_ours

    def forked(self, event: Forked) -> Process:
        """Add the child, which runs what its parent runs."""
        parent = self._known.get(event.parent)
        process = Process(
            event.pid, event.start_ns, event.parent, event.uid, event.comm
        )
        if parent is not None:
            process.exe = parent.exe
            process.exe_claimed = parent.exe_claimed
            process.preloaded = parent.preloaded
            process.argv = parent.argv
            process.argv_cut = parent.argv_cut
        self._ended.pop(event.pid, None)
        self._known[event.pid] = process
        return process

    def executed(self, event: Executed, mapped: str | None = None) -> Process:
        """Note the process's new program, which was perhaps mapped from a path."""
        words = event.arguments.split(b"\0")
        if words and not words[-1]:
            words.pop()
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
            argv=sanitise_argv([from_bytes(word) for word in words[:_MAX_ARGUMENTS]]),
            argv_cut=event.arguments_size > len(event.arguments)
            or len(words) > _MAX_ARGUMENTS,
        )
        self._ended.pop(event.pid, None)
        self._known[event.pid] = process
        return process

    def exited(self, event: Exited) -> Process | None:
        """Note the end of a process; None for one that was never seen."""
        process = self._known.get(event.pid)
        if process is None:
            return None
        process.alive = False
        self._ended[event.pid] = event.ktime_ns
        if len(self._ended) > _MAX_ENDED:
            self._known.pop(self._ended.popitem(last=False)[0], None)
        return process

    def get(self, pid: int) -> Process | None:
        """Return the process that has, or last had, pid."""
        return self._known.get(pid)

    def ancestry(self, process: Process) -> list[str]:
        """Return the command names of the process's ancestors, nearest first."""
        names: list[str] = []
        parent = self._known.get(process.parent)
        while parent is not None and len(names) < _MAX_ANCESTORS:
            names.append(parent.comm)
            above = self._known.get(parent.parent)
            parent = None if above is parent else above
        return names

    def actor(self, event: Flow | DnsPacket) -> tuple[Actor | None, str | None]:
        """Return the process behind event, and why it is not wholly known."""
        if event.flags & FLAG_OWNERLESS:
            return None, "the kernel named no owner of the packet's socket"
        if not event.pid:
            return None, "a kernel thread made the socket, for nobody that it names"
        process = self._known.get(event.pid)
        if process is None:
            why = "the process began before or outside the scope"
            return Actor(
                pid=event.pid,
                tid=event.tid,
                ppid=None,
                uid=event.uid,
                comm=event.comm,
                exe=None,
                argv=None,
                ancestry=[],
            ), why
        return Actor(
            pid=event.pid,
            tid=event.tid,
            ppid=process.parent,
            uid=event.uid,
            comm=event.comm,
            exe=process.exe,
            argv=process.argv,
            ancestry=self.ancestry(process),
        ), None

    def alive(self) -> list[Process]:
        """Return the processes that have not ended."""
        return [process for process in self._known.values() if process.alive]
