"""The processes of the scope, built from the kernel's fork, exec and exit events."""

import os
from collections.abc import Iterable, Mapping

from egressmon.attribution.descent import (
    UNKNOWN,
    Descent,
    of_child,
    of_program,
    with_step,
)
from egressmon.attribution.executables import Executables, why_preloaded
from egressmon.attribution.existing import Existing
from egressmon.attribution.helpers import helper_of
from egressmon.attribution.mount_ages import MountAges
from egressmon.attribution.processes.answers import Answers
from egressmon.attribution.processes.commands import Commands
from egressmon.attribution.processes.process import (
    ANY,
    GONE,
    SERIALS,
    TICK_NS,
    Process,
    Program,
    first_inside,
    number_inside,
)
from egressmon.clock import ahead_ns
from egressmon.events.model import CgroupChanged, Environment, Executed, Forked
from egressmon.files.beginning import Beginning
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.values import replace

_MAX_PROGRAMS = 8  # of each process


class Processes(Answers):
    """Follows the processes of the scope by what the kernel tells of them."""

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
        super().__init__()
        self._strangers = strangers
        self._commands = Commands(argv)
        self._executables = Executables(
            beginning or Beginning(), proc_is_ours=proc_is_ours
        )
        self.proc_is_ours = proc_is_ours
        self.mount_ages = MountAges()
        self.helpers: frozenset[str] = frozenset()
        """Which helpers of container engines were seen."""

    def on_cgroup(self, event: CgroupChanged) -> None:
        """Follow cgroups that come and go."""
        if self.containers is not None:
            self.containers.on_change(event)

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
        process.pid_inside = number_inside(event.pid, event.pid_inside)
        process.inside = first_inside(process, parent)
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
                argv, is_cut = self._commands.of(one.arguments)
            why = self._executables.why_seen(one.mounts, one.users)
            why = why or (None if one.is_there else GONE)
            process = Process(
                pid=one.pid,
                start_ns=one.ticks * TICK_NS - ahead_ns(),
                parent=one.parent,
                uid=one.uid,
                comm=one.comm,
                exe=one.exe,
                exe_claimed=why if one.exe is not None else None,
                argv=argv,
                argv_cut=is_cut,
                exec_id=ANY,
                mounts=one.mounts,
                is_machines=one.is_machines,
                descent=descents.get(one.pid, self._strangers),
                pid_inside=(inside := number_inside(one.pid, one.pid_inside)),
                inside=f"m{one.mounts}" if inside is not None else None,
                helper=self._helper_found(one),
            )
            self.mount_ages.note(one.mounts, process.start_ns)
            self._know(process)

    # The parent, of which the event says which program it runs, and no more.
    def _parent(self, event: Forked) -> Process | None:
        parent = self._known.get(event.parent)
        if parent is not None and parent.exec_id == ANY:
            return replace(parent, exec_id=event.exec_id)
        return parent

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
        argv, is_cut = self._commands.of(event.arguments)
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
            pid_inside=number_inside(event.pid, event.pid_inside),
            earlier=self._earlier(event),
            mounts=event.mounts,
            descent=of_program(self._descent(event), exe),
            helper=self._helper(event),
        )
        before = self._known.get(event.pid)
        is_same = before is not None and before.start_ns == event.start_ns
        process.inside = first_inside(process, before if is_same else None)
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
            changed.serial = next(SERIALS)
            self._know(changed)

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

    def _earlier(self, event: Executed) -> tuple[tuple[int, Program], ...]:
        process = self._known.get(event.pid)
        if process is None or process.start_ns != event.start_ns:
            return ()
        others = (one for one in process.earlier if one[0] != process.exec_id)
        return (*others, (process.exec_id, process.program))[-_MAX_PROGRAMS:]


def _is_at(place: int, path: str | None) -> bool:
    return os.readlink(f"/proc/self/fd/{place}") == path  # noqa: PTH115 -- text out
