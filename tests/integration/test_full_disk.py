"""Evidence on a disk that is really full, and then is not: a small tmpfs of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egressmon.verifying.result import Result, Wanted
from egressmon.verifying.walking.place import verify

_WRITER = Path(__file__).with_name("full_disk.py")


@pytest.fixture(scope="module", autouse=True)
def _needs_a_namespace() -> None:
    done = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"no mount namespace here: {done.stderr}")


def written(tmp_path: Path, scenario: str) -> tuple[Result, dict[str, object]]:
    """Return what is found in what was written on a full disk, and what is said of it.

    The disk is mounted in a namespace that ends with the process.
    """
    mounted, copy = tmp_path / "disk", tmp_path / "copy"
    mounted.mkdir()
    done = subprocess.run(
        [
            *("unshare", "-rm", sys.executable, str(_WRITER)),
            *(str(mounted), str(copy), scenario),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not list(mounted.iterdir())
    return verify(str(copy), Wanted()), json.loads(done.stdout)


def test_a_run_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    result, said = written(tmp_path, "freed")
    assert (said["failure"], said["state"]) == (None, "whole")
    assert int(str(said["lost"])) > 0
    assert result.unreadable == []
    assert result.found == []
    (run,) = result.files
    assert (run.verdict, run.complete) == ("violations", False)
    assert len(run.more) > 2


def test_the_end_has_room_on_a_disk_that_stays_full(tmp_path: Path) -> None:
    result, said = written(tmp_path, "full")
    assert said["failure"] is None
    assert int(str(said["lost"])) > 0
    assert result.unreadable == []
    assert result.found == []
    (run,) = result.files
    assert run.verdict == "violations"


def test_without_a_reserve_the_run_then_has_no_end(tmp_path: Path) -> None:
    result, said = written(tmp_path, "unreserved")
    assert said["failure"] == "No space left on device"
    kinds = {one.kind for one in result.found}
    assert "truncated" in kinds
    assert kinds <= {"truncated"}
