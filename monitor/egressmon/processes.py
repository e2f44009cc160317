"""Who is who: the scope's processes, as the kernel told of them in order."""

import os
from collections import OrderedDict
from dataclasses import dataclass, field

from egressmon.argv_mode import ArgvMode
from egressmon.events import FLAG_OWNERLESS, DnsPacket, Executed, Exited, Flow, Forked
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
    argv: list[str] = field(default_factory=list[str])
    argv_cut: bool = False
    """Whether the argument list was longer than what is kept."""
    alive: bool = True


class Processes:
    """The scope's processes by pid; an ended one stays until its pid is needed."""

    def __init__(self, *, proc_is_ours: bool, argv: ArgvMode = "masked") -> None:
        """With proc_is_ours, /proc names processes by the same pids as the kernel.

        `argv` is how much of command lines is kept.
        """
        self._argv: ArgvMode = argv
        self._known: dict[int, Process] = {}
        self._ended: OrderedDict[int, int] = OrderedDict()
        self.proc_is_ours = proc_is_ours

    def forked(self, event: Forked) -> Process:
        """Add the child, which runs what its parent runs."""
        parent = self._known.get(event.parent)
        process = Process(
            event.pid, event.start_ns, event.parent, event.uid, event.comm
        )
        if parent is not None:
            process.exe = parent.exe
            process.argv = parent.argv
            process.argv_cut = parent.argv_cut
        self._ended.pop(event.pid, None)
        self._known[event.pid] = process
        return process

    def executed(self, event: Executed) -> Process:
        """Note the process's new program."""
        words = event.arguments.split(b"\0")
        if words and not words[-1]:
            words.pop()
        given = [from_bytes(word) for word in words[:_MAX_ARGUMENTS]]
        argv = sanitise_argv(given, self._argv)
        process = Process(
            pid=event.pid,
            start_ns=event.start_ns,
            parent=event.parent,
            uid=event.uid,
            comm=event.comm,
            exe=self._exe(event),
            argv=argv,
            argv_cut=event.arguments_size > len(event.arguments)
            or len(words) > len(argv),
        )
        self._ended.pop(event.pid, None)
        self._known[event.pid] = process
        return process

    # The link in /proc resolves symbolic links and relative paths. It is believed
    # only while it leads to the very file of this exec: the process may run another
    # program by now, or be gone; then what the kernel captured at the exec stands.
    def _exe(self, event: Executed) -> str:
        if not self.proc_is_ours:
            return event.path
        try:
            link = f"/proc/{event.pid}/exe"
            found = os.fsencode(os.readlink(link))  # noqa: PTH115 -- hot path
            if os.stat(link).st_ino != event.inode:  # noqa: PTH116 -- as above
                return event.path
        except OSError:
            return event.path
        return from_bytes(found.removesuffix(b" (deleted)"))

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
