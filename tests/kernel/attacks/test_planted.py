"""What lies in the working directory is not followed, and not written over."""

import os
import subprocess
from pathlib import Path

import pytest

from support.users import NOBODY
from support.watching import EGRESSMON, ENGINE, read_evidence

pytestmark = pytest.mark.userspace


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EGRESSMON, words[0], "--engine", ENGINE, *words[1:]],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def assert_evidence_is_refused(work: Path, why: str) -> None:
    done = run(work, "watch", "--", "touch", "ran")

    assert done.returncode == 121
    assert f"evidence cannot be written to .egressmon: {why}" in done.stderr
    assert (work / "ran").exists()


def test_evidence_is_made_in_a_folder_that_git_passes_over(work: Path) -> None:
    done = run(work, "watch", "--", "true")

    assert done.returncode == 0, done.stderr
    folder = work / ".egressmon"
    assert (folder / ".gitignore").read_text() == "*\n"
    (evidence,) = folder.glob("*.jsonl")
    assert read_evidence(evidence)[-1]["evidence"] == "whole"
    assert evidence.stat().st_mode & 0o777 == 0o640
    assert run(work, "watch", "--", "true").returncode == 0  # a second one in it


def test_a_planted_folder_is_not_followed(work: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (work / ".egressmon").symlink_to(tmp_path / "elsewhere")

    assert_evidence_is_refused(work, "Not a directory")

    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_planted_gitignore_is_not_followed(work: Path, tmp_path: Path) -> None:
    folder = work / ".egressmon"
    folder.mkdir()
    (folder / ".gitignore").symlink_to(tmp_path / "victim")

    done = run(work, "watch", "--", "true")

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "victim").exists()


def test_another_users_folder_takes_no_evidence(work: Path) -> None:
    (work / ".egressmon").mkdir()
    os.chown(work / ".egressmon", NOBODY, NOBODY)

    assert_evidence_is_refused(work, f"it belongs to uid {NOBODY}; name a file")

    assert not any((work / ".egressmon").iterdir())


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_can_write_takes_no_evidence(
    work: Path, mode: int
) -> None:
    (work / ".egressmon").mkdir()
    (work / ".egressmon").chmod(mode)

    assert_evidence_is_refused(work, "others than its owner can write there")

    assert not any((work / ".egressmon").iterdir())


def test_learn_does_not_write_through_a_dangling_link(
    work: Path, tmp_path: Path
) -> None:
    (work / "egress.toml").symlink_to(tmp_path / "victim")

    done = run(work, "learn", "--evidence", "/dev/null", "--", "touch", "ran")

    assert done.returncode == 125
    assert "egress.toml exists" in done.stderr
    assert not (tmp_path / "victim").exists()
    assert not (work / "ran").exists()


def test_learn_replaces_a_link_and_not_what_it_leads_to(
    work: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("kept\n")
    (work / "egress.toml").symlink_to(tmp_path / "victim")

    done = run(work, "learn", "--force", "--evidence", "/dev/null", "--", "true")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "victim").read_text() == "kept\n"
    assert not (work / "egress.toml").is_symlink()
    assert "version = 1" in (work / "egress.toml").read_text()
    assert [one.name for one in work.iterdir()] == ["egress.toml"]


def test_learn_writes_through_nothing_that_comes_during_the_run(
    work: Path, tmp_path: Path
) -> None:
    plant = f"ln -s {tmp_path}/victim egress.toml"

    done = run(work, "learn", "--evidence", "/dev/null", "--", "sh", "-c", plant)

    assert done.returncode == 121
    assert "egress.toml: File exists" in done.stderr
    assert not (tmp_path / "victim").exists()
    assert [one.name for one in work.iterdir()] == ["egress.toml"]


def test_learn_writes_to_a_device_and_does_not_replace_it(
    work: Path, tmp_path: Path
) -> None:
    device = tmp_path / "null"
    os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))

    done = run(
        work, "learn", "--force", "--output", str(device), "--evidence", "/dev/null",
        "--", "true",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert device.is_char_device()
