"""The note of the nightly example: a part of a file that is replaced in place."""

import subprocess
from pathlib import Path

import pytest

NOTE = Path(__file__).parents[2] / "docs/examples/nightly/note.sh"
BEGIN = "<!-- egressmon drift: begin -->"
END = "<!-- egressmon drift: end -->"


def put(file: Path, text: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(NOTE), str(file)], check=False, input=text.encode(), capture_output=True
    )


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert put(tmp_path / "note.md", "one\n").returncode == 0

    text = (tmp_path / "note.md").read_text()
    assert text == f"# What this project reaches\n\n{BEGIN}\none\n{END}\n"


@pytest.mark.parametrize("before", ["Ours\n", "Ours", "Ours\r\n\r\nmore\r\n", ""])
def test_what_is_there_stays(tmp_path: Path, before: str) -> None:
    note = tmp_path / "note.md"
    note.write_bytes(before.encode())

    for text in ("one\n", 'two\\n "$(id)" & more\n', "three\n"):
        assert put(note, text).returncode == 0

    newline = "" if before.endswith("\n") or not before else "\n"
    whole = f"{before}{newline}{BEGIN}\nthree\n{END}\n"
    assert note.read_bytes() == whole.encode()


def test_the_text_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "| a\\tb | `$HOME` & 100% | é |\n\nlast line"

    put(tmp_path / "note.md", text)

    assert f"{BEGIN}\n{text}\n{END}\n" in (tmp_path / "note.md").read_text()


def test_what_a_browser_made_of_the_markers_is_known(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_bytes(f"Ours\r\n{BEGIN}\r\nold\r\n{END}\r\nafter\r\n".encode())

    assert put(note, "new\n").returncode == 0

    whole = f"Ours\r\n{BEGIN}\r\nnew\n{END}\r\nafter\r\n"
    assert note.read_bytes() == whole.encode()


def test_the_same_text_does_not_touch_the_file(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    put(note, "one\n")
    before = note.stat()

    assert put(note, "one\n").returncode == 0

    assert note.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    "before",
    [
        f"{BEGIN}\n",
        f"{END}\n",
        f"{END}\n{BEGIN}\n",
        f"{BEGIN}\n{BEGIN}\n{END}\n",
        f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n",
    ],
)
def test_markers_that_make_no_sense_leave_the_file_as_it_is(
    tmp_path: Path, before: str
) -> None:
    note = tmp_path / "note.md"
    note.write_text(before)

    done = put(note, "one\n")

    assert done.returncode == 2
    assert b"marker" in done.stderr
    assert note.read_text() == before


@pytest.mark.parametrize("marker", [BEGIN, END])
def test_a_text_with_a_marker_is_refused(tmp_path: Path, marker: str) -> None:
    done = put(tmp_path / "note.md", f"hostile {marker}\n")

    assert done.returncode == 2
    assert not (tmp_path / "note.md").exists()
