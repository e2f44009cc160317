"""What is missing in evidence, or of another form, is told; the reading goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.auditing.doubts import Doubts
from egressmon.auditing.evidence import told_in
from egressmon.auditing.places import runs_at
from egressmon.errors import UsageError
from support.recorded import proof, record
from support.segments import record_segments, segments

Lines = list[bytes]


def without(number: int) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        return [one for place, one in enumerate(lines) if place != number % len(lines)]

    return change


def changed(number: int, **fields: object) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        new = json.dumps(json.loads(lines[number]) | fields).encode()
        return [*lines[:number], new, *lines[number % len(lines) + 1 :]]

    return change


def put(number: int, line: bytes | int) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        new = lines[line] if isinstance(line, int) else line
        return [*lines[:number], new, *lines[number:]]

    return change


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (without(-1), "the run has no end: nobody knows what is missing"),
        (without(4), "records are missing before number 5"),
        (without(0), "line 1 does not begin a run"),
        (put(99, -1), "comes after the end of the run"),
        (put(3, 0), "begins another run"),
        (put(3, b"{"), "line 4 is no JSON"),
        (put(3, b"[]"), "line 4 is no record"),
        (changed(3, schema="egressmon/1"), "is not of the schema egressmon/2"),
        (changed(3, type="more"), "is of a type that is not known here"),
        (changed(3, event=7), "`event` is a number"),
        (changed(3, run="another"), "is of another run"),
        (
            changed(-1, complete=False, incomplete_reasons=["a", "b"]),
            "the run is incomplete: a; b",
        ),
        (changed(-1, complete=False), "the run is incomplete: it does not say why"),
    ],
)
def test_a_doubt_is_told_and_the_rest_is_read(
    change: Callable[[Lines], Lines], doubt: str, tmp_path: Path
) -> None:
    path = tmp_path / "evidence.jsonl"
    record(path)
    lines = change(path.read_bytes().splitlines())
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    doubts = Doubts()

    told = list(told_in((str(path),), doubts))

    assert any(doubt in one for one in doubts.told), doubts.told
    assert len(told) > 5


def test_values_that_are_not_there_leave_records_that_know_less(
    tmp_path: Path,
) -> None:
    path = tmp_path / "evidence.jsonl"
    record(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(one for one in lines if b'"type":"actor"' not in one))
    doubts = Doubts()

    told = list(told_in((str(path),), doubts))

    assert any("references to what is not in the file" in one for one in doubts.told)
    assert len(told) > 5


def test_a_line_without_an_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    record(path)
    path.write_bytes(path.read_bytes()[:-1])
    doubts = Doubts()

    list(told_in((str(path),), doubts))

    assert "is cut off" in doubts.told[0]


def test_many_doubts_are_counted() -> None:
    doubts = Doubts()
    for number in range(1200):
        doubts.add(str(number))

    assert len(doubts.lines()) == 1001
    assert doubts.lines()[-1] == "200 more such lines"


def test_segments_are_one_run(tmp_path: Path) -> None:
    record_segments(tmp_path)
    assert len(segments(tmp_path)) > 1
    doubts = Doubts()

    runs = runs_at([str(tmp_path)], doubts)
    named = runs_at([str(one) for one in reversed(segments(tmp_path))], doubts)

    assert runs == named == [tuple(map(str, segments(tmp_path)))]
    assert list(told_in(runs[0], doubts))
    assert doubts.told == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_segment_that_is_missing_is_told(number: int, tmp_path: Path) -> None:
    record_segments(tmp_path)
    segments(tmp_path)[number].unlink()
    doubts = Doubts()

    (run,) = runs_at([str(tmp_path)], doubts)
    list(told_in(run, doubts))

    assert doubts.told != []


def test_a_folder_has_each_run_once_and_in_order(tmp_path: Path) -> None:
    folder = proof(tmp_path / "proof")
    evidence = str(folder / "run-01/evidence.jsonl")
    doubts = Doubts()

    runs = runs_at([evidence, str(folder), str(folder)], doubts)

    other = str(folder / "run-02/evidence.jsonl")
    assert sorted(runs) == [(evidence,), (other,)]
    assert doubts.told == []


def test_what_has_no_evidence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no evidence in it"):
        runs_at([str(tmp_path)], Doubts())
    with pytest.raises(UsageError, match="cannot be read"):
        list(told_in((str(tmp_path / "none"),), Doubts()))


def test_a_link_below_a_folder_is_left_out_and_told(tmp_path: Path) -> None:
    folder = proof(tmp_path / "proof")
    (folder / "more.jsonl").symlink_to("/etc/passwd")
    doubts = Doubts()

    assert len(runs_at([str(folder)], doubts)) == 2
    assert "more.jsonl was left out" in doubts.told[0]
