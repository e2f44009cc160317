"""note.sh keeps its part of a file, and loses nothing of the rest."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs/examples/nightly/note.sh"
BEGIN, END = "<!-- egressmon drift: begin -->", "<!-- egressmon drift: end -->"
OURS = f"# Ours\n{BEGIN}\nold\n{END}\nours\n"


def note(
    folder: Path, *files: str, text: str = "new\n", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), *files],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
    )


@pytest.mark.parametrize("name", ["a b", r"a\nb", r"a\tb\\"])
def test_the_text_arrives_whatever_the_folder_is_called(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()

    done = note(tmp_path, "note.md", TMPDIR=str(tmp_path / name))

    assert done.returncode == 0, done.stderr
    assert f"{BEGIN}\nnew\n{END}\n" in (tmp_path / "note.md").read_text()


def test_a_name_that_begins_with_a_dash_is_one(tmp_path: Path) -> None:
    for text in ("one\n", "two\n"):
        assert note(tmp_path, "-n", text=text).returncode == 0

    assert "two" in (tmp_path / "-n").read_text()


@pytest.mark.parametrize("make", ["mkdir", "mkfifo"])
def test_what_is_no_file_is_refused(tmp_path: Path, make: str) -> None:
    subprocess.run([make, str(tmp_path / "note.md")], check=True)

    assert note(tmp_path, "note.md").returncode == 2


def test_without_a_file_it_is_bad_usage(tmp_path: Path) -> None:
    done = note(tmp_path)

    assert done.returncode == 2
    assert "usage" in done.stderr


def test_a_text_that_does_not_fit_leaves_the_note_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text(OURS)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # As on a full disk: a second file of that length cannot be written.
    cat = tmp_path / "programs/cat"
    cat.parent.mkdir()
    cat.write_text(
        '#!/bin/sh\ncase $1 in */new) head -c 9 "$1"; exit 1 ;; esac\n'
        'exec /bin/cat "$@"\n'
    )
    cat.chmod(0o755)

    path = f"{cat.parent}:{os.environ['PATH']}"
    done = note(tmp_path, "note.md", TMPDIR=str(scratch), PATH=path)

    assert done.returncode == 2
    assert (tmp_path / "note.md").read_text() == OURS
    assert {one.name for one in tmp_path.iterdir()} == {
        "note.md",
        "scratch",
        "programs",
    }


def test_links_owner_and_rights_stay(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text(OURS)
    (tmp_path / "real.md").chmod(0o640)
    (tmp_path / "note.md").symlink_to("real.md")

    assert note(tmp_path, "note.md").returncode == 0

    assert (tmp_path / "note.md").is_symlink()
    assert (tmp_path / "real.md").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "real.md").read_text() == OURS.replace("old", "new")


def test_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "note.md").write_text(OURS)
    process = subprocess.Popen(
        ["sh", str(SCRIPT), "note.md"],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(scratch)},
    )
    while not [*scratch.glob("*/text")]:
        pass

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == 2
    assert not [*scratch.iterdir()]
    assert (tmp_path / "note.md").read_text() == OURS
