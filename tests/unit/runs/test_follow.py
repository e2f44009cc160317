"""A process is identified by its pid and its start, as pids are reused."""

import os
import time
from pathlib import Path

from egressmon.attribution.processes.process import Process
from egressmon.runs.follow import is_running

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def test_another_process_of_the_same_number_is_not_the_one_that_ran() -> None:
    pid = os.getpid()
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start = int(words[19]) * _TICK + _TICK // 2

    assert is_running(Process(pid, start, 1, 0, "us"))
    assert not is_running(Process(pid, start - 60 * 10**9, 1, 0, "before us"))
    assert not is_running(Process(pid, 0, 1, 0, "unknown"))
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) > start
