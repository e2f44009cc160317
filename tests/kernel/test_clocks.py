"""In a time namespace, where the clocks are others, a run tells the same."""

import os
import signal
import sys
from collections.abc import Callable

import pytest

from support.watching import Watched

Watch = Callable[..., Watched]
# One connection, and a process that goes on after the command.
SCRIPT = """
import socket, subprocess
socket.socket().connect_ex(("127.0.0.1", 9))
left = subprocess.Popen(["sleep", "60"], stdin=-3, stdout=-3, stderr=-3)
print(left.pid)
"""


@pytest.mark.parametrize("seconds", ["1000000", "-1000"])
def test_times_are_right_in_a_time_namespace(watched: Watch, seconds: str) -> None:
    run = watched(
        *(sys.executable, "-c", SCRIPT),
        through=("unshare", "--time", "--boottime", seconds, "--fork"),
        options=["--linger", "0s"],
    )

    os.kill(int(run.stdout), signal.SIGKILL)
    times = [one["time"] for one in run.records]
    assert min(times) >= run.records[0]["time"]
    assert max(times) == run.end["time"]
    assert all(one["started"] <= one["time"] for one in run.of("process"))
    assert len(run.of("connection")) == 1
    assert [one["pid"] for one in run.end["outlived"]] == [int(run.stdout)]
