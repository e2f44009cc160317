"""A room leaves nothing behind, however it ends."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.engines.image import image
from support.engines.room import room as made
from support.lab import Lab

PATHS = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3] / "scripts/vm")]
# Starts what outlives the command, says who that is, and waits to be killed.
HOLD = """
import json, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from support.engines.room import room
from support.lab import Lab
with room(Path({root!r}), Lab({client!r}, {server!r}, Path({folder!r}))) as one:
    one.do("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $! >/shared/pid")
    pid = int((one.shared / "pid").read_text())
    print(json.dumps([str(one.cgroup), str(one.shared), pid, one.holder]), flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_test_started_is_ended(root: Path, network: Lab) -> None:
    fields = {name: str(value) for name, value in vars(network).items()}
    script = HOLD.format(paths=PATHS, root=str(root), **fields)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        cgroup, shared, *pids = json.loads(one.stdout.readline())
        ends = [os.pidfd_open(pid) for pid in pids]
        one.kill()
        one.stdout.read()  # until its guard has ended, too

    for end in ends:
        assert select.select([end], [], [], 0)[0], "a process is left"
        os.close(end)
    assert not Path(cgroup).exists()
    assert not Path(shared).exists()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert "egressmon-engines-" not in mounts


def test_a_room_that_cannot_be_made_leaves_nothing(
    network: Lab, tmp_path: Path
) -> None:
    before = set(find_root().glob("engines-*"))
    with (
        pytest.raises(AssertionError, match="the room was not made"),
        made(tmp_path / "nowhere", network),
    ):
        pass
    assert set(find_root().glob(f"engines-{os.getpid()}-*")) <= before


def test_what_is_written_in_a_room_is_not_written_to_its_folder(
    root: Path, network: Lab, build: Callable[[str], str]
) -> None:
    with made(root, network) as one:
        image(one.shared, build("connect"))
        one.do("sh", "-c", "echo changed >/etc/hostname; rm /usr/bin/runc")
    assert (root / "usr/bin/runc").exists()
    assert (root / "etc/hostname").read_text() != "changed\n"
