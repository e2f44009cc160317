"""Anchors are lines elsewhere, and never hold a run up."""

import os
import re
from pathlib import Path

from egressmon.clock import Clock
from egressmon.evidence.anchoring import Anchor, open_anchor
from egressmon.evidence.records.running import LossRecord
from egressmon.evidence.writer import Evidence, open_evidence

_LINE = re.compile(r"egressmon anchor run=r1 seq=(\d+) head=(blake3:[0-9a-f]{64})")


def evidence_at(path: Path, anchor: Anchor) -> Evidence:
    made = Evidence(open_evidence(str(path)), "r1", Clock(), None, path=str(path))
    made.anchor = anchor
    return made


def write(evidence: Evidence, times: int) -> None:
    for _ in range(times):
        evidence.write(LossRecord("lost_flow", 1, "none"), 0)


def test_the_head_is_told_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    evidence = evidence_at(tmp_path / "e", Anchor(open_anchor(str(log)), None))
    write(evidence, 3)
    head = evidence.head
    evidence.close()
    before, line = log.read_text().splitlines()
    assert before == "before"
    match = _LINE.fullmatch(line)
    assert match is not None
    assert match.groups() == ("2", head)


def test_it_is_told_again_as_time_passes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    evidence = evidence_at(tmp_path / "e", Anchor(open_anchor(str(log)), 0.0))
    write(evidence, 3)
    evidence.close()
    numbers = [_LINE.fullmatch(line)[1] for line in log.read_text().splitlines()]  # type: ignore[index]
    assert numbers == ["0", "1", "2", "2"]


def test_a_reader_that_takes_nothing_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    anchor = Anchor(open_anchor(str(tmp_path / "pipe")), 0.0)
    evidence = evidence_at(tmp_path / "e", anchor)
    write(evidence, 2000)
    evidence.close()
    os.close(reader)
    assert anchor.failure == "its reader takes nothing"
    assert evidence.failure is None
    assert evidence.records == 2000


def test_a_full_disk_is_said_and_harms_no_evidence(tmp_path: Path) -> None:
    anchor = Anchor(open_anchor("/dev/full"), None)
    evidence = evidence_at(tmp_path / "e", anchor)
    write(evidence, 1)
    evidence.close()
    assert anchor.failure == "No space left on device"
    assert evidence.failure is None
