"""Evidence is a chain of lines, and says when the disk fails."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest
from blake3 import blake3

from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.evidence.records.code import StackRecord
from egressmon.evidence.records.running import LossRecord
from egressmon.evidence.schema import EVIDENCE_FILE, evidence_schema, text
from egressmon.evidence.writer import Evidence, open_evidence


def opened(path: Path) -> Evidence:
    file = open_evidence(str(path))
    return Evidence(file, "run-1", Clock(), None, path=str(path))


LOSS = LossRecord("lost_flow", 3, "connections are missing")


def test_lines_are_chained_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    evidence = opened(path)
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


def test_lines_of_a_batch_are_written_together_and_at_256_kb(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    evidence = opened(path)
    with evidence.gathering():
        evidence.write(LOSS, 1)
        assert not path.read_bytes()
        while not path.stat().st_size:
            evidence.write(LOSS, 1)
        written = path.read_bytes()
        assert written.endswith(b"}\n")
        assert 256 << 10 <= len(written) < 257 << 10
    assert path.stat().st_size == evidence.size
    assert evidence.examine() == "whole"
    evidence.close()


# The kernel writes as much as it may, and refuses the rest.
@pytest.mark.parametrize("room", [0, 100, 700, 1400])
def test_of_a_batch_that_does_not_fit_whole_lines_count(
    tmp_path: Path, room: int
) -> None:
    path = tmp_path / "e.jsonl"
    evidence = opened(path)
    evidence.write(LOSS, 1)
    first = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (first + room, before[1]))
    try:
        with evidence.gathering():
            for _ in range(9):
                assert evidence.write(LOSS, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert evidence.write(LOSS, 1)
    evidence.close()

    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines()
    assert len(content) == first + room
    assert evidence.failure == "File too large"
    assert (evidence.records, evidence.size) == (len(lines), len(whole))
    assert evidence.head == "blake3:" + blake3(lines[-1]).hexdigest()


# A pipe with a slow reader takes a line in several writes.
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


def changed(path: Path, how: str) -> None:
    """Change the file as somebody else could."""
    content = path.read_bytes()
    if how == "replaced":
        path.unlink()
        path.write_bytes(content)
    elif how == "removed":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, 10)
    elif how == "appended":
        with path.open("ab") as file:
            file.write(b"{}\n")
    else:
        path.write_bytes(content.replace(b"lost_flow", b"lost_wolf"))


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ("replaced", "replaced"),
        ("removed", "replaced"),
        ("truncated", "changed"),
        ("appended", "changed"),
        ("rewritten", "changed"),
    ],
)
def test_what_somebody_does_to_the_file_is_seen(
    tmp_path: Path, how: str, state: str
) -> None:
    path = tmp_path / "e.jsonl"
    evidence = opened(path)
    evidence.write(LOSS, 1)
    assert evidence.examine() == "whole"

    changed(path, how)

    assert evidence.examine() == state
    evidence.close()


# If others truncate the file, the next line goes to its new end: no hole of NULs.
def test_a_file_that_is_cut_short_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    evidence = opened(path)
    evidence.write(LOSS, 1)
    os.truncate(path, 0)
    evidence.write(LOSS, 1)
    evidence.close()

    (line,) = path.read_bytes().splitlines()
    assert json.loads(line)["seq"] == 1


# An agent that has given up its rights may no longer have access to the path.
def test_a_path_that_may_not_be_looked_at_is_asked_of_the_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.jsonl"
    evidence = opened(path)
    evidence.write(LOSS, 1)

    def refuse(path: str) -> os.stat_result:
        raise PermissionError(errno.EACCES, "no", path)

    monkeypatch.setattr("egressmon.evidence.place.os.stat", refuse)

    assert evidence.examine() == "whole"
    path.rename(tmp_path / "elsewhere")
    assert evidence.examine() == "replaced"
    evidence.close()


def test_a_named_pipe_is_waited_for_and_not_examined(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    evidence = opened(path)
    evidence.write(LOSS, 1)

    assert evidence.examine() == "unchecked"
    assert json.loads(os.read(reader, 10_000))["count"] == 3
    evidence.close()
    os.close(reader)


# The command can stop the reader, which runs as the same user.
def test_a_reader_that_takes_nothing_is_not_waited_for_when_it_is_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    evidence = opened(path)
    answers = iter((False, False, True))
    evidence.is_over = lambda: next(answers)

    while evidence.failure is None:
        evidence.write(LOSS, 1)

    assert evidence.failure == "its reader takes nothing"
    assert next(answers, None) is None
    assert len(os.read(reader, 1 << 20)) > 60_000
    evidence.close()
    os.close(reader)


@pytest.mark.parametrize("path", ["/", "/proc/nowhere/x", "a\0b"])
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
