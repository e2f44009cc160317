"""Root runs no `.venv` that others can change, whatever stamp lies in it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.users import NOBODY

pytestmark = pytest.mark.userspace

ROOT = Path(__file__).parents[3]


# A checkout of root's, set up as its stamp says, with a Python that tells who ran it.
@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", ".egressmon", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    packages = folder / ".venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (folder / ".venv/bin").mkdir()
    (folder / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (packages / "x.pth").write_text("# nothing\n")
    python = folder / ".venv/bin/python3"
    python.write_text(f"#!/bin/sh\nid -u >>{tmp_path}/ran\n")
    python.chmod(0o755)
    python.with_name("python").symlink_to("python3")
    script = f'. {folder}/scripts/setup.sh; fingerprint >"$venv/egressmon-run.stamp"'
    subprocess.run(["bash", "-c", script], check=True)
    return folder


def start(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts/egressmon", "watch", "--", "true"],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
    )


def test_the_checkouts_own_is_run(checkout: Path, tmp_path: Path) -> None:
    done = start(checkout)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").read_text() == "0\n"


def given_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


@pytest.mark.parametrize("how", [given_away, open_to_all])
@pytest.mark.parametrize(
    "what",
    [
        ".",
        "bin",
        "bin/python",
        "bin/python3",
        "pyvenv.cfg",
        "egressmon-run.stamp",
        "lib/python3.11/site-packages",
        "lib/python3.11/site-packages/x.pth",
    ],
)
def test_what_others_can_change_is_not_run_by_root(
    checkout: Path, tmp_path: Path, what: str, how: Callable[[Path], None]
) -> None:
    how(checkout / ".venv" / what)

    done = start(checkout)

    assert done.returncode == 125
    assert done.stderr.startswith("error: root would run code that others can change: ")
    assert "\nhint: remove " in done.stderr
    assert not (tmp_path / "ran").exists()
