"""The attribution stage: native modules, and the Python code behind them."""

import os
from collections.abc import Hashable, Iterable

from egressmon import host
from egressmon.attribution import Level
from egressmon.attribution.native.call_sites import CallSiteMemory
from egressmon.attribution.native.modules import Modules
from egressmon.attribution.packages.lookup import Packages
from egressmon.attribution.python.code import FrameMemory, NoFrames, PythonCode
from egressmon.attribution.result import Attribute, Attribution, unknown
from egressmon.events import glance
from egressmon.events.model import (
    CodeObject,
    DnsPacket,
    Executed,
    Flow,
    Forked,
    Frames,
    Stack,
    Traffic,
)
from egressmon.evidence.records.code import CodeStatus
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.probes.architecture import Architecture, this_machine
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.sideband import SideRecord
from egressmon.values import replace


class Attributor:
    """Attributes connections: joins native modules and Python code."""

    def __init__(
        self,
        memory: CallSiteMemory,
        frames: FrameMemory | None,
        no_frames: str,
        architecture: Architecture | None,
        beginning: Beginning | None = None,
    ) -> None:
        """`memory` is the probes' map of the call sites that they recognise.

        `frames` are the maps of interpreters and code objects that the probes keep;
        None if Python frames are not read, for the reason `no_frames`.
        `architecture` is that of the machine that the events are from.
        `beginning` is the moment before the run, by default now.
        """
        beginning = beginning or Beginning()
        self._packages = Packages(beginning)
        self._modules = Modules(memory, self._packages, architecture, beginning)
        self._no_frames = no_frames
        self._code = PythonCode(frames, self._packages) if frames is not None else None

    def begin(self) -> None:
        """Start what needs privileges that the agent drops afterwards."""
        if self._code is not None:
            self._code.begin()

    @property
    def helper(self) -> int | None:
        """The pid of the process that attaches probes, or None."""
        return self._code.helper if self._code is not None else None

    def prepare(self, command: Iterable[bytes], path: bytes) -> None:
        """Register the interpreters that `command`, looked up in `path`, may run."""
        if self._code is not None:
            self._code.prepare(command, path)

    @property
    def no_creators(self) -> str:
        """Why creators of tasks are not recorded; empty if they are, or need not be."""
        return self._code.no_creators if self._code is not None else ""

    @property
    def is_cut_short(self) -> bool:
        """Whether the recording of the creators of tasks ended too early."""
        return self._code is not None and self._code.is_cut_short

    def settle(self) -> None:
        """Wait until everything that `prepare` began is done."""
        if self._code is not None:
            self._code.settle()

    def wind_up(self) -> None:
        """Start detaching probes (0.1 s) while the run winds down."""
        if self._code is not None:
            self._code.close()

    def on_mappings(self, records: list[SideRecord], *, lost: bool) -> None:
        """Take the kernel's `records` of mappings; `lost`: some before are missing."""
        self._modules.on_mappings(records, lost=lost)
        if self._code is not None:
            self._code.on_mappings(records)

    def on_stack(self, event: Stack | Frames | CodeObject) -> None:
        """Take what the probes read of a caller: stack, Python frames or their code."""
        if isinstance(event, Stack):
            self._modules.on_stack(event)
        elif self._code is not None:
            self._code.on_frames(event)

    def on_repeated(self, data: bytes, kind: int) -> bool:
        """Take the event in `data`, of that `kind`, if it is quickly done.

        It does what `on_stack` does with the event. Returns False if it did nothing.
        """
        if kind == glance.STACK:
            stack = glance.known_stack(data)
            if stack is not None:
                self._modules.on_known_stack(stack)
            return stack is not None
        if kind != glance.FRAMES:
            return False
        if self._code is not None and not self._code.on_frames_again(data):
            self._code.on_new_frames(data)
        return self._code is not None

    def basis(self, flow: glance.FlowHead | DnsPacket) -> Hashable:
        """Return all that `attribute` rests on, for flows that are alike otherwise.

        None if that cannot be said.
        """
        found = self._modules.lookup(flow)
        if self._code is None:
            return found.serial, found.claimed, found.guard
        code = self._code.basis(flow)
        if code is None:
            return None
        return found.serial, found.claimed, found.guard, code

    def on_fork(self, event: Forked) -> None:
        """Follow a process that has begun."""
        self._modules.on_fork(event)
        if self._code is not None:
            self._code.on_fork(event)

    def on_exec(self, event: Executed, known: os.stat_result | None = None) -> None:
        """Follow a process into a new program, whose file has the status `known`.

        None: that must be looked up.
        """
        self._packages.know_interpreter(event.path)
        self._modules.on_exec(event.pid, event.ktime_ns)
        if self._code is not None:
            self._code.on_exec(event, known)

    def lookup_program(self, pid: int) -> str | None:
        """Return the path that process `pid`'s program was mapped from, if known."""
        return self._modules.lookup_program(pid)

    def on_exit(self, pid: int, ktime_ns: int) -> None:
        """Forget process `pid`, which has ended."""
        self._modules.on_exit(pid, ktime_ns)
        if self._code is not None:
            self._code.on_exit(pid)

    def release(self) -> None:
        """Close what was opened for a batch, and the command may want to unmount."""
        self._modules.release()

    def attribute(self, flow: Traffic) -> Attribution:
        """Return who made `flow`."""
        found = self._modules.lookup(flow)
        if self._code is None:
            return replace(found, code_reason=self._no_frames)
        answer = self._code.of(
            flow, _without_frames(found, self._code.why_unusable(flow))
        )
        if isinstance(answer, NoFrames):
            status: CodeStatus = "unknown" if answer.may_be_python else "none"
            return replace(found, code_status=status, code_reason=answer.reason)
        return replace(found, code=answer, code_status="known", code_reason=None)

    def close(self) -> None:
        """Close the files that were read."""
        self._modules.close()
        self.wind_up()


# What it means where no frames were read: by the modules, if they are known.
def _without_frames(found: Attribution, unusable: str | None) -> NoFrames:
    if found.language == "python":
        return NoFrames(
            unusable or "the probes did not know the interpreter at the call"
        )
    if found.language is None and found.module_reason is not None:
        return NoFrames(found.module_reason)
    return NoFrames("the process does not run Python", may_be_python=False)


def attributor_for(
    level: Level, engine: Engine, beginning: Beginning
) -> Attributor | None:
    """Return an attributor up to `level` of the events of the loaded `engine`.

    None where no process can be looked into: at the level `process`, and in a pid
    namespace, where the pids of the kernel are not those of /proc.
    """
    if level == "process" or not host.proc_is_ours():
        return None
    frames, why_none = engine.frames, engine.no_frames
    if level != "full":
        frames, why_none = None, f"--attribution {level}"
    return Attributor(engine, frames, why_none, this_machine(), beginning)


def attribute_with(
    attributor: Attributor | None, level: Level, faults: Faults
) -> Attribute:
    """Return the function that attributes flows by `attributor`.

    A failure goes to `faults`, and the flow is unknown. Without an attributor every
    flow is unknown, because of `level` or a pid namespace.
    """

    def attribute(flow: Traffic) -> Attribution:
        if isinstance(flow, Flow) and flow.operation == "accept":
            return unknown("the peer made the connection")
        if attributor is not None:
            try:
                return attributor.attribute(flow)
            except Exception as error:  # noqa: BLE001 -- the connection is recorded
                faults.note("saying who made a connection", error)
                return unknown(f"egressmon failed ({type(error).__name__})")
        if level == "process":
            return unknown("--attribution process")
        return unknown("egressmon runs in a pid namespace")

    return attribute
