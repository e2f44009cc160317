"""What is asked of the processes: who did something, and what that is part of."""

from typing import Protocol

from egressmon.attribution.processes.process import LOST, Caused, Process, program_at
from egressmon.attribution.processes.table import ProcessTable
from egressmon.events.model import (
    FLAG_OWNERLESS,
    FLAG_UNASKED,
    CgroupChanged,
    Escape,
    Traffic,
)
from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.traffic import Origin

_OWNERLESS = (
    "the kernel named no owner of the packet's socket: a kernel thread made it, or "
    "somebody outside the scope"
)
_UNASKED = "the kernel sent it by itself, by a socket that no process has"
_MAX_VIEWERS = 4


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


class Answers(ProcessTable):
    """Answers whose an event is, by the processes that are known."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.containers: Containers | None = None
        """None: which containers there are is not asked."""
        self.is_part = False
        """Whether only what some of the containers do is recorded."""

    def container_of(self, process: Process | None, cgroup: int = 0) -> str | None:
        """Return the key of the container in which a process is, or was.

        `cgroup` is where it was at a call; 0: where its last event has it.
        """
        number = cgroup or (process.cgroup if process is not None else 0)
        if self.containers is None or not number:
            return None
        inside = process.inside if process is not None else None
        return self.containers.key_of(number, inside=inside)

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
        program, why = program_at(process, event)
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

    def is_own_listener(self, event: Escape) -> bool:
        """Tell whether the scope itself listens where `event` has a socket connected.

        Where only some containers are recorded, that is the same container.
        """
        listener = self._known.get(event.peer)
        if listener is None or not self.is_part:
            return listener is not None
        own = self.container_of(self._known.get(event.pid), event.cgroup)
        return own is not None and own == self.container_of(listener)

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
