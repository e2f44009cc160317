"""What a run says of the one that it goes on from."""

import os
from pathlib import Path

import pytest

from egressmon.clock import Clock, kernel_ns
from egressmon.evidence.output import digest_of_line
from egressmon.evidence.records.lasting import RestartRecord
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.unended import find_before
from egressmon.probes.loaded import Kept
from egressmon.runs.lasting.gaps import gap_of_refusal
from egressmon.runs.lasting.restarts import restart_after

RUN = "20260101T000000Z-00000001"
LATER = "20260102T000000Z-00000002"
LINE = (
    b'{"type":"%s","time":"2001-01-01T00:00:00.000000001Z",'
    b'"connections":{"allowed":3},"queries":{},"before":0,'
    b'"losses":{},"doubts":0,"incomplete_reasons":[]}'
)
VIOLATION = b'{"type":"connection","verdict":"violation"}'


def restart(
    folder: Path, losses: dict[str, int] | None = None, overwritten: int = 0
) -> RestartRecord:
    opened = PlainFolder.at(str(folder))
    kept = Kept(RUN, kernel_ns(), waiting=7, again=2, overwritten=overwritten)
    try:
        before = find_before(opened, RUN)
        return restart_after(before, kept, "systemd", losses or {}, Clock())
    finally:
        opened.close()


def put(folder: Path, run: str, kind: bytes) -> bytes:
    line = LINE % kind
    (folder / f"{run}-000001.jsonl").write_bytes(line + b"\n")
    return line


def test_it_names_the_last_line_of_the_run_before(tmp_path: Path) -> None:
    line = put(tmp_path, RUN, b"heartbeat")
    put(tmp_path, LATER, b"run.end")

    found = restart(tmp_path, {"lost_flow": 0, "missed_stack": 3})

    assert (found.before, found.before_head) == (RUN, digest_of_line(line))
    assert (found.ended, found.since) == (False, "2001-01-01T00:00:00.000000001Z")
    assert (found.waiting, found.again) == (7, 2)
    assert found.losses == {"missed_stack": 3}
    assert (found.doubt, found.reason) == (False, None)


def test_it_says_that_the_one_before_ended(tmp_path: Path) -> None:
    put(tmp_path, RUN, b"run.end")

    assert restart(tmp_path).ended is True


def test_evidence_that_is_elsewhere_is_not_known(tmp_path: Path) -> None:
    put(tmp_path, LATER, b"heartbeat")

    found = restart(tmp_path)

    assert (found.before, found.before_head, found.ended) == (RUN, None, None)
    assert found.since is None


BEAT = LINE % b"heartbeat"


@pytest.mark.parametrize(
    ("lines", "violations"),
    [
        ([b'{"type":"run.start"}', VIOLATION], 1),
        ([b'{"type":"run.start"}'], 0),
        ([BEAT, VIOLATION, b'{"type":"dns","verdict":"violation","count":4}'], 5),
        ([BEAT.replace(b"allowed", b"violation"), VIOLATION], 4),
        ([VIOLATION, BEAT], 0),
        ([BEAT.replace(b'"before":0', b'"before":7')], 7),
        ([BEAT.replace(b'"before":0', b'"before":null')], None),
        ([BEAT.replace(b'"before":0', b'"before":-7')], None),
        ([BEAT.replace(b'"queries":{}', b'"queries":[]')], None),
        ([BEAT.replace(b":3", b":true").replace(b"allowed", b"violation")], None),
        ([b'{"type":"restart","violations":2,"doubt":false}', VIOLATION], 3),
        ([b'{"type":"restart"}', VIOLATION], None),
        ([VIOLATION], None),
        ([BEAT, b"not JSON", VIOLATION], None),
        ([BEAT, b'{"type":"dns","verdict":"violation","count":-4}'], None),
    ],
)
def test_the_violations_of_the_run_before(
    tmp_path: Path, lines: list[bytes], violations: int | None
) -> None:
    (tmp_path / f"{RUN}-000001.jsonl").write_bytes(b"\n".join([*lines, b""]))

    found = restart(tmp_path)

    assert found.violations == violations
    assert found.doubt is (violations != 0)


@pytest.mark.parametrize(
    ("lines", "doubted"),
    [
        ([BEAT], False),
        ([BEAT.replace(b'"doubts":0', b'"doubts":1')], True),
        ([BEAT.replace(b'"doubts":0', b'"other":0')], True),
        ([BEAT.replace(b'"losses":{}', b'"losses":{"lost_flow":1}')], True),
        ([BEAT.replace(b'"losses":{}', b'"losses":{"missed_stack":1}')], False),
        ([BEAT, b'{"type":"escape","doubt":true}'], True),
        ([BEAT, b'{"type":"escape","doubt":false}'], False),
        ([BEAT, b'{"type":"gap"}'], True),
        ([BEAT, b'{"type":"loss"}'], True),
        ([BEAT, b'{"type":"canary","reason":null}'], False),
        ([BEAT, b'{"type":"canary","reason":"not seen"}'], True),
        ([LINE % b"run.end"], False),
        (
            [(LINE % b"run.end").replace(b"[]", b'["the run was not concluded: x"]')],
            False,
        ),
        ([(LINE % b"run.end").replace(b"[]", b'["an escape"]')], True),
        ([b'{"type":"restart","violations":0,"doubt":true}'], True),
    ],
)
def test_the_doubts_of_the_run_before(
    tmp_path: Path, lines: list[bytes], *, doubted: bool
) -> None:
    (tmp_path / f"{RUN}-000001.jsonl").write_bytes(b"\n".join([*lines, b""]))

    found = restart(tmp_path)

    assert (found.doubted, found.doubt) == (doubted, doubted)


def test_a_run_before_with_a_line_cut_out_is_not_known(tmp_path: Path) -> None:
    one = b'{"type":"dns","prev":"%s"}' % digest_of_line(BEAT).encode()
    two = b'{"type":"dns","prev":"%s"}' % digest_of_line(one).encode()

    for lines, violations in (([BEAT, one, two], 0), ([BEAT, two], None)):
        (tmp_path / f"{RUN}-000001.jsonl").write_bytes(b"\n".join([*lines, b""]))
        assert restart(tmp_path).violations == violations


def test_what_was_lost_is_a_doubt(tmp_path: Path) -> None:
    put(tmp_path, RUN, b"heartbeat")

    found = restart(tmp_path, {"lost_flow": 5})

    assert found.doubt
    assert found.reason == "events were lost while nobody read: 5 (lost_flow)"


def test_what_is_overwritten_is_a_doubt(tmp_path: Path) -> None:
    found = restart(tmp_path, overwritten=1)

    assert found.doubt
    assert found.reason is not None
    assert "overwritten" in found.reason


def test_a_refusal_is_a_gap_of_its_own_where_nothing_else_is_known() -> None:
    until = "2026-01-01T00:00:00.000000001Z"

    found = gap_of_refusal(None, "they are of another boot", until)

    assert (found.since, found.until, found.doubt) == (None, until, True)
    assert found.reason.endswith("not taken up: they are of another boot")
    assert os.linesep not in found.reason
