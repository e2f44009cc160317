"""The temporary folder of a run: all of it goes, and nothing else does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from egressmon.proofs.written.scratch import Scratch

IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
LEAVES_MOUNTS = """
import os, pathlib, subprocess, sys
from egressmon.proofs.written.scratch import Scratch
scratch = Scratch()
top = pathlib.Path(scratch.path)
(top / "a" / "m").mkdir(parents=True)
(top / "file").touch()
for source, target in ((sys.argv[1], "a/m"), (f"{sys.argv[1]}/kept", "file")):
    subprocess.run(["mount", "--bind", source, top / target], check=True)
print(scratch.remove())
subprocess.run(["umount", top / "a/m", top / "file"], check=True)
(top / "a/m").rmdir()
(top / "a").rmdir()
(top / "file").unlink()
top.rmdir()
"""


@pytest.fixture(autouse=True)
def _in_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))


def test_nothing_is_removed_through_a_mount(tmp_path: Path) -> None:
    able = subprocess.run([*IN_A_NAMESPACE, "true"], check=False, capture_output=True)
    if able.returncode:
        pytest.skip("no user namespaces here")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")

    words = [*IN_A_NAMESPACE, sys.executable, "-c", LEAVES_MOUNTS, str(outside)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)

    assert (outside / "kept").read_text() == "kept"
    assert "was left" in done.stdout
    assert "it is a mount" in done.stdout


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    scratch = Scratch()
    (Path(scratch.path) / "link").symlink_to(outside)

    assert scratch.remove() is None
    assert not Path(scratch.path).exists()
    assert (outside / "kept").exists()


def test_what_may_not_be_read_goes_all_the_same() -> None:
    scratch = Scratch()
    inner = Path(scratch.path) / "one" / "two"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for folder in (inner, inner.parent, inner.parent.parent):
        folder.chmod(0)

    assert scratch.remove() is None
    assert not Path(scratch.path).exists()


def test_a_tower_of_folders_goes() -> None:
    scratch = Scratch()
    at = os.open(scratch.path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=at)
        os.close(os.open("f", os.O_CREAT, dir_fd=at))
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)

    assert scratch.remove() is None
    assert not Path(scratch.path).exists()


def test_another_folder_in_its_place_is_left(tmp_path: Path) -> None:
    scratch = Scratch()
    Path(scratch.path).rename(tmp_path / "moved")
    (tmp_path / "moved" / "kept").touch()
    Path(scratch.path).mkdir()
    (Path(scratch.path) / "kept").touch()

    assert scratch.remove() == f"{scratch.path} was left: it was replaced"
    assert (tmp_path / "moved" / "kept").exists()
    assert (Path(scratch.path) / "kept").exists()


def test_what_takes_too_long_is_said() -> None:
    scratch = Scratch(limit_s=-1.0)
    (Path(scratch.path) / "file").touch()

    left = scratch.remove()
    assert left is not None
    assert "takes longer" in left
