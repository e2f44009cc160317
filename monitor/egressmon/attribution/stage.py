"""The stage that says who did it: native modules, and the Python code behind them."""

from collections.abc import Iterable
from dataclasses import replace

from egressmon import host
from egressmon.attribution import Level
from egressmon.attribution.native.call_sites import Memory
from egressmon.attribution.native.modules import Modules
from egressmon.attribution.packages.lookup import Packages
from egressmon.attribution.python.code import FrameMemory, NoFrames, PythonCode
from egressmon.attribution.result import Attribute, Attribution, unknown
from egressmon.events.model import CodeObject, Flow, Forked, Frames, Stack, Traffic
from egressmon.evidence.code_records import CodeStatus
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.probes.architecture import Architecture, this_machine
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.sideband import SideRecord


class Attributor:
    """Joins what is found out about connections."""

    def __init__(
        self,
        memory: Memory,
        frames: FrameMemory | None,
        no_frames: str,
        architecture: Architecture | None,
        beginning: Beginning | None = None,
    ) -> None:
        """Memory is the probes' of call sites, frames theirs of Python code.

        No_frames says why Python frames are not read, where frames is None. Events are
        from a machine of `architecture`. Beginning is the run's (without one, it is
        now).
        """
        beginning = beginning or Beginning()
        self._packages = Packages(beginning)
        self._modules = Modules(memory, self._packages, architecture, beginning)
        self._no_frames = no_frames
        self._code = PythonCode(frames, self._packages) if frames is not None else None

    def begin(self) -> None:
        """Start what takes rights that will be given up."""
        if self._code is not None:
            self._code.begin()

    @property
    def helper(self) -> int | None:
        """The id of the process that attaches probes; None: there is none."""
        return self._code.helper if self._code is not None else None

    def prepare(self, command: Iterable[bytes], path: bytes) -> None:
        """Know what command, looked for in path, may run."""
        if self._code is not None:
            self._code.prepare(command, path)

    @property
    def no_creators(self) -> str:
        """Why the creators of tasks are not noted; empty: they are, or need not be."""
        return self._code.no_creators if self._code is not None else ""

    @property
    def is_cut_short(self) -> bool:
        """Whether the creators of tasks were no longer noted at some time."""
        return self._code is not None and self._code.is_cut_short

    def settle(self) -> None:
        """Return when all that prepare() began is done."""
        if self._code is not None:
            self._code.settle()

    def wind_up(self) -> None:
        """Begin to end what takes its time: nothing more will be created."""
        if self._code is not None:
            self._code.close()

    def learn(self, records: list[SideRecord], *, lost: bool) -> None:
        """Take what the side band told; lost: something before it is missing."""
        self._modules.learn(records, lost=lost)
        if self._code is not None:
            self._code.learn(records)

    def saw(self, event: Stack | Frames | CodeObject) -> None:
        """Take what the probes read of a caller."""
        if isinstance(event, Stack):
            self._modules.saw(event)
        elif self._code is not None:
            self._code.saw(event)

    def forked(self, event: Forked) -> None:
        """Take note that a process began."""
        self._modules.forked(event.pid)
        if self._code is not None:
            self._code.forked(event)

    def executed(self, pid: int, path: str, ktime_ns: int) -> None:
        """Take note that pid runs a new program, which was called path."""
        self._packages.know_interpreter(path)
        self._modules.executed(pid, ktime_ns)
        if self._code is not None:
            self._code.executed(pid)

    def program(self, pid: int) -> str | None:
        """Return the path that pid's program was mapped from; None: not known."""
        return self._modules.program(pid)

    def ended(self, pid: int, ktime_ns: int) -> None:
        """Take note that pid is gone."""
        self._modules.ended(pid, ktime_ns)
        if self._code is not None:
            self._code.ended(pid)

    def of(self, flow: Traffic) -> Attribution:
        """Return who made flow."""
        found = self._modules.of(flow)
        if self._code is None:
            return replace(found, code_reason=self._no_frames)
        answer = self._code.of(flow, _without_frames(found))
        if isinstance(answer, NoFrames):
            status: CodeStatus = "unknown" if answer.may_be_python else "none"
            return replace(found, code_status=status, code_reason=answer.reason)
        return replace(found, code=answer, code_status="known", code_reason=None)

    def close(self) -> None:
        """Close the files that were read."""
        self._modules.close()
        self.wind_up()


# What it means where no frames were read: by the modules, if they are known.
def _without_frames(found: Attribution) -> NoFrames:
    if found.language == "python":
        return NoFrames("the probes did not know the interpreter at the call")
    if found.language is None and found.module_reason is not None:
        return NoFrames(found.module_reason)
    return NoFrames("the process does not run Python", may_be_python=False)


def attributor_for(
    level: Level, engine: Engine, beginning: Beginning
) -> Attributor | None:
    """Return what attributes up to `level` what the loaded `engine` tells of.

    None where no process can be looked at: at the level `process`, and in a pid
    namespace, where the kernel's numbers are not /proc's.
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
    """Return the function that attributes; where `attributor` fails, `faults` has it.

    Without an attributor it says why there is none.
    """

    def attribute(flow: Traffic) -> Attribution:
        if isinstance(flow, Flow) and flow.operation == "accept":
            return unknown("the peer made the connection")
        if attributor is not None:
            try:
                return attributor.of(flow)
            except Exception as error:  # noqa: BLE001 -- the connection is recorded
                faults.note("saying who made a connection", error)
                return unknown(f"egressmon failed ({type(error).__name__})")
        if level == "process":
            return unknown("--attribution process")
        return unknown("egressmon runs in a pid namespace")

    return attribute
