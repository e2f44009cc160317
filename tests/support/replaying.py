"""Feed events to the stages of a run, without a kernel and with a fixed clock.

So what two ways of processing write can be compared byte by byte.
"""

import errno
import ipaddress
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from egressmon import files
from egressmon.attribution import Level
from egressmon.attribution.processes import Processes
from egressmon.attribution.stage import Attributor, attribute_with
from egressmon.clock import Clock
from egressmon.evidence.records import Record
from egressmon.evidence.tally import Tally
from egressmon.evidence.writer import DEFAULT_LIMIT, Evidence, open_evidence
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.naming.names import Names
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Listener
from egressmon.policy.language.model import AnyPolicy, Policy
from egressmon.probes.architecture import this_machine
from egressmon.probes.kernel import sideband
from egressmon.runs.assemble import Knowledge, Wiring, assemble
from egressmon.runs.inner import InnerRuns
from egressmon.runs.recorder import Recorder
from egressmon.sensor.canary import CanaryWatch, make_plan
from egressmon.sensor.intake import Batch

RUN = "replay"
RESOLVER = "192.0.2.53"
_OFFSET_NS = 1_800_000_000 * 1_000_000_000


class ProcessesGone:
    """Opens files, but nothing of a process: another has its number by now."""

    def open(self, path: bytes, kind: files.Kind) -> int:
        """Open as `files.open_here` does, unless a process is asked for."""
        if path.startswith(b"/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return files.open_here(path, kind)


class NoMaps:
    """Takes the place of the probes' maps: forgets all that it is told."""

    context_programs = (-1, -1)

    def remember(self, key: bytes, template: bytes) -> None:
        """Forget a call site."""

    def forget(self, key: bytes) -> None:
        """Have nothing to forget."""

    def add(self, interpreter: bytes) -> bool:
        """Forget an interpreter."""
        return bool(interpreter)

    def look_again(self) -> None:
        """Look for nothing."""

    def forget_code(self, key: bytes) -> None:
        """Have nothing to forget."""

    def watch_copies(self, path: str, offset: int, pid: int = -1) -> int:
        """Refuse to attach."""
        raise OSError(errno.EPERM, f"{path} {offset} {pid}")

    def watch_makers(self, path: str, offset: int) -> int:
        """Refuse to attach."""
        raise OSError(errno.EPERM, f"{path} {offset}")


class Replay:
    """The stages of a run, from events to the evidence, which is at `path`.

    The namespace where it began is 1. `before_unnamed` may teach `names`.
    """

    def __init__(  # noqa: PLR0913 -- what the stages can be told
        self,
        path: Path,
        level: Level = "process",
        *,
        remembers: bool,
        policy: AnyPolicy | None = None,
        limit: int = DEFAULT_LIMIT,
        before_unnamed: Callable[["Replay"], None] = lambda _: None,
        on_record: Callable[[Record], None] = lambda _: None,
        may_translate: bool = False,
        evidence: Callable[[Clock], Evidence] | None = None,
    ) -> None:
        """`remembers` says whether what repeats is taken from what was made before.

        `evidence` makes what is written to, in the place of a file at `path`.
        """
        self.path = path
        self.clock = Clock()
        cast("Any", self.clock)._offset = _OFFSET_NS  # noqa: SLF001 -- fixed
        cast("Any", self.clock).now_ns = lambda: 10**15
        self.evidence = (
            evidence(self.clock)
            if evidence is not None
            else Evidence(
                open_evidence(str(path)), RUN, self.clock, None, limit, str(path)
            )
        )
        self.tally, self.faults, self.inner = Tally(), Faults(), InnerRuns()
        self.names, self.canaries = Names(), CanaryWatch()
        self.canaries.begin(make_plan())
        self.asked: list[str] = []
        self._listened = 0
        beginning = Beginning()
        self.processes = Processes(proc_is_ours=True, beginning=beginning)
        self.attributor = _attributor(level, beginning)
        self.recorder = recorder = Recorder(
            cast("Any", self._state()), (self.inner,), on_record
        )
        self.pipeline = assemble(
            Wiring(
                Judge(
                    policy or Policy(version=1),
                    frozenset({ipaddress.ip_address(RESOLVER)}),
                ),
                Knowledge(self.names, self.processes, self.canaries),
                who_listens=self._who_listens,
                before_unnamed=lambda: before_unnamed(self),
                attribute=attribute_with(self.attributor, level, self.faults),
                attributor=self.attributor,
                clock=self.clock,
                faults=self.faults,
                sink=recorder.record_at,
                may_translate=may_translate,
                lines=recorder if remembers else None,
            )
        )

    # Another answer each time: nothing may rest on an earlier one.
    def _who_listens(self, *_: object) -> Listener:
        self._listened += 1
        return "nobody" if self._listened % 2 else "outside"

    # What a recorder takes of the state of a run.
    def _state(self) -> SimpleNamespace:
        return SimpleNamespace(
            clock=self.clock,
            evidence=self.evidence,
            tally=self.tally,
            faults=self.faults,
        )

    def process(self, batches: Sequence[Batch]) -> None:
        """Process `batches` in order."""
        for batch in batches:
            self.pipeline.process(batch)

    def finish(self) -> bytes:
        """End the run, and return the evidence."""
        self.pipeline.finish()
        self.evidence.close()
        if self.attributor is not None:
            self.attributor.close()
        return self.path.read_bytes()

    def summary(self) -> dict[str, object]:
        """Return all that is counted of the run, for comparison."""
        return {
            "tally": self.tally,
            "unnamed": self.pipeline.connections.unnamed,
            "tracker": self.pipeline.tracker,
            "faults": self.faults.doubts(),
            "inner": self.inner.notes(),
            "head": self.evidence.head,
            "records": self.evidence.records,
            "size": self.evidence.size,
            "left_out": self.evidence.left_out,
            "failure": self.evidence.failure,
        }


def _attributor(level: Level, beginning: Beginning) -> Attributor | None:
    if level == "process":
        return None
    frames = NoMaps() if level == "full" else None
    return Attributor(
        NoMaps(), frames, "--attribution module", this_machine(), beginning
    )


def batches_in(path: Path) -> Iterator[Batch]:
    """Yield the batches that scripts/benchmarks/record.py kept in the file `path`."""
    with path.open("rb") as file:
        while True:
            try:
                events, mapped, lost = pickle.load(file)  # noqa: S301 -- our own
            except EOFError:
                return
            records = [getattr(sideband, name)(*fields) for name, fields in mapped]
            yield Batch(events, records, lost)
