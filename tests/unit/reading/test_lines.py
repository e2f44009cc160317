"""Any file can be read as evidence: what is no record in it is said."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.errors import UsageError
from egressmon.evidence.gate import MAX_RECORD
from egressmon.reading.lines import LineError, lines_of

WHOLE = b'{"type":"loss"}'


def written(folder: Path, content: bytes) -> str:
    path = folder / "e.jsonl"
    path.write_bytes(content)
    return str(path)


def told(path: str) -> list[object]:
    found: list[object] = []
    for line in lines_of(path):
        try:
            found.append(line.record()["type"])
        except LineError as error:
            found.append(f"{line.number}: {error}")
    return found


@given(st.lists(st.binary(max_size=40).filter(lambda one: b"\n" not in one)))
def test_every_line_is_yielded_with_its_number(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    content = b"".join(one + b"\n" for one in lines)
    path = written(tmp_path_factory.mktemp("lines"), content or b"\n")

    found = list(lines_of(path))

    assert [one.data for one in found] == (lines or [b""])
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert all(one.is_ended for one in found)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"type":"loss"', "is no JSON"),
        (b"[1]", "is no record"),
        (b'{"type":1}', "is no record"),
        (b"\xff", "is no JSON"),
        (b"\xef\xbb\xbf" + WHOLE, "is no JSON"),
        (b'{"a":' * 2000, "is no JSON"),
        (b'"' + b"x" * MAX_RECORD + b'"', "is longer than a record"),
        (b"x" * (3 << 20), "is longer than a record"),
    ],
)
def test_a_line_that_is_no_record_is_said_and_the_rest_is_read(
    tmp_path: Path, line: bytes, why: str
) -> None:
    path = written(tmp_path, b"\n".join([WHOLE, line, WHOLE, b""]))

    first, bad, last = told(path)

    assert (first, last) == ("loss", "loss")
    assert str(bad).startswith(f"2: {why}")


def test_a_last_line_without_its_end_was_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE + b"\n" + WHOLE[:-3])

    assert told(path) == ["loss", "2: is cut off: whoever wrote it was ended"]


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none", tmp_path / "fifo", tmp_path, "/dev/null", "a\0b"):
        with pytest.raises(UsageError, match="cannot be read"):
            list(lines_of(str(path)))


def test_an_empty_file_is_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is empty"):
        list(lines_of(written(tmp_path, b"")))
