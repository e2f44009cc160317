"""Evidence: one line a record, chained, and honest about a disk that fails."""

import json
import os
from pathlib import Path

import pytest
from blake3 import blake3

from egressmon.attribution.records import StackRecord
from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.evidence import Evidence, open_evidence
from egressmon.records import LossRecord
from egressmon.schema import EVIDENCE_FILE, evidence_schema, text

LOSS = LossRecord("lost_flow", 3, "connections are missing")


def test_lines_are_chained_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    evidence = Evidence(open_evidence(str(path)), "run-1", Clock(), None)
    for _ in range(3):
        evidence.write(LOSS, 1)
    evidence.close()

    lines = path.read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == [0, 1, 2]
    assert records[0]["prev"] is None
    assert records[2]["prev"] == "blake3:" + blake3(lines[1]).hexdigest()
    assert list(records[0])[:7] == [
        *("schema", "type", "seq", "time", "run", "phase", "prev")
    ]
    assert records[0]["type"] == "loss"
    assert records[0]["count"] == 3


def test_a_write_that_fails_is_final_and_said() -> None:
    evidence = Evidence(open_evidence("/dev/full"), "run-1", Clock(), None)

    evidence.write(LOSS, 1)
    evidence.write(LOSS, 1)
    evidence.close()

    assert evidence.failure == "No space left on device"
    assert evidence.records == 0


# A pipe whose reader is slow takes a line in parts.
def test_a_short_write_is_continued() -> None:
    read, write = os.pipe()
    evidence = Evidence(os.fdopen(write, "wb", buffering=0), "run-1", Clock(), None)
    long = StackRecord("x", ["y" * 4000] * 14, [], 0)

    evidence.write(long, 1)

    assert json.loads(os.read(read, 100_000))["names"] == ["y" * 4000] * 14
    os.close(read)
    evidence.close()


def test_without_a_file_nothing_is_written() -> None:
    evidence = Evidence(None, "run-1", Clock(), "no such folder")

    evidence.write(LOSS, 1)
    evidence.close()

    assert evidence.failure == "no such folder"


@pytest.mark.parametrize("path", ["/", "/proc/nowhere/x"])
def test_a_path_that_cannot_be_opened(path: str) -> None:
    with pytest.raises(EvidenceError, match="cannot be written") as caught:
        open_evidence(path)

    assert "--evidence" in caught.value.hint


def test_the_shipped_schema_is_current() -> None:
    assert EVIDENCE_FILE.read_text() == text(evidence_schema())


def test_times_are_rfc_3339_with_nanoseconds_and_never_go_back() -> None:
    clock = Clock()
    now = clock.now_ns()
    times = [
        clock.rfc3339(now + step) for step in (0, 1, 999_999_999, 10**9, 3 * 10**9)
    ]

    assert times == sorted(times)
    assert all(len(one) == 30 and one.endswith("Z") for one in times)
