"""What is no whole evidence gets a clear message, and the rest is verified."""

import os
from pathlib import Path

import pytest

from egressmon.verifying.findings import UnreadableError
from egressmon.verifying.rejudging.policies import Policies
from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.evidence_file import EvidenceFile
from egressmon.verifying.walking.place import verify


def file_of(path: Path) -> EvidenceFile:
    file = EvidenceFile(str(path), Policies([]))
    file.verify()
    return file


def test_a_line_that_a_crash_cut_off_is_said_and_the_rest_verified(
    evidence: Path,
) -> None:
    data = evidence.read_bytes()
    evidence.write_bytes(data[:-30])
    found = verify(str(evidence), Wanted())
    assert [one.kind for one in found.found] == ["truncated", "truncated"]
    assert "is cut off" in found.found[0].message
    assert found.found[0].line == 12
    assert found.found[0].offset == data.rindex(b"\n", 0, len(data) - 1) + 1
    assert found.files[0].records == 11
    assert found.files[0].judged == 4


@pytest.mark.parametrize("number", [1, 3, 99])
def test_another_schema_is_no_finding_but_unreadable(
    evidence: Path, number: int
) -> None:
    data = evidence.read_bytes().replace(b"egressmon/2", b"egressmon/%d" % number)
    evidence.write_bytes(data)
    with pytest.raises(UnreadableError, match=f"schema egressmon/{number}") as raised:
        file_of(evidence)
    assert "verify it with" in raised.value.hint


def test_two_runs_in_one_file_are_told_apart(evidence: Path) -> None:
    evidence.write_bytes(2 * evidence.read_bytes())
    messages = [one.message for one in file_of(evidence).findings.found]
    assert any("comes after the end" in one for one in messages)
    assert any("begins a run, inside another" in one for one in messages)


def test_carriage_returns_and_a_byte_order_mark_are_named(evidence: Path) -> None:
    data = evidence.read_bytes()
    evidence.write_bytes(data.replace(b"\n", b"\r\n"))
    assert "CR" in file_of(evidence).findings.found[0].message
    evidence.write_bytes(b"\xef\xbb\xbf" + data)
    first = file_of(evidence).findings.found[0]
    assert ("byte order mark" in first.message, first.line) == (True, 1)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"hello\n", b"\0" * 100_000, b"{}\n", b"[1]\n", b"null"]
)
def test_what_is_no_evidence_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_bytes(data)
    with pytest.raises(UnreadableError):
        file_of(path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(UnreadableError):
            file_of(path)


def test_a_sparse_file_of_5_gb_is_read_in_bounded_memory(evidence: Path) -> None:
    size = 5 * 1000**3
    with evidence.open("r+b") as file:
        file.truncate(size)
    found = file_of(evidence)
    assert found.verified.size == size
    (last,) = found.findings.found
    assert (last.kind, last.line) == ("truncated", 13)
    assert "it is no record" in last.message


def test_a_directory_without_evidence_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("text")
    (error,) = verify(str(tmp_path), Wanted()).unreadable
    assert "has no evidence in it" in str(error)


def test_links_and_pipes_in_a_directory_are_named_and_not_followed(
    original: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "policy.toml").write_bytes((original / "policy.toml").read_bytes())
    data = (original / "run-01" / "evidence.jsonl").read_bytes()
    (run / "evidence.jsonl").write_bytes(data)
    (run / "link.jsonl").symlink_to(original / "run-01" / "evidence.jsonl")
    (run / "up").symlink_to(tmp_path)
    os.mkfifo(run / "pipe")
    found = verify(str(run), Wanted())
    assert len(found.files) == 1
    assert sum("was left out: it is" in note for note in found.notes) == 3


def test_ten_thousand_files_are_one_directory(evidence: Path) -> None:
    for number in range(10_000):
        (evidence.parent / f"{number}.log").touch()
    found = verify(str(evidence.parent), Wanted())
    assert found.found == []
    assert found.files[0].records == 12
