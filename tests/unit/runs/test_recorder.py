"""What is recorded while something else has to come first."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from egressmon.clock import Clock
from egressmon.evidence.records import Record
from egressmon.evidence.records.running import LossRecord
from egressmon.evidence.tally import Tally
from egressmon.evidence.writer import Evidence, open_evidence
from egressmon.faults import Faults
from egressmon.runs.recorder import Recorder


def recorder(evidence: Evidence, seen: Callable[[Record], None]) -> Recorder:
    state = SimpleNamespace(
        clock=Clock(),
        evidence=evidence,
        tally=Tally(),
        faults=Faults(verbose=False),
    )
    return Recorder(cast("Any", state), [], seen)


def loss(number: int) -> LossRecord:
    return LossRecord("lost_flow", number, "connections are missing")


def test_what_is_held_comes_later_and_in_order(tmp_path: Path) -> None:
    seen: list[Record] = []
    evidence = Evidence(open_evidence(str(tmp_path / "e")), "run", Clock(), None)
    one = recorder(evidence, seen.append)

    one.hold()
    one.record(loss(1))
    one.record(loss(2))
    assert seen == []
    held = one.held()
    one.record(loss(3))
    for rendered, ktime_ns in held:
        one.put(rendered, ktime_ns)

    assert [cast("LossRecord", record).count for record in seen] == [3, 1, 2]
    assert one.held() == []
    evidence.close()
