"""Stay with the command, and with what it leaves running."""

import os
import select
import sys
import time
from collections.abc import Callable

from egressmon import files
from egressmon.attribution.processes import Process, Processes
from egressmon.evidence.records import Outlived, Record
from egressmon.faults import Faults
from egressmon.keeping.kept import Kept
from egressmon.keeping.launch import Launched
from egressmon.keeping.signals import EndWanted
from egressmon.pipeline import Pipeline
from egressmon.runs.plan import Ending
from egressmon.sensor.sensor import Sensor
from egressmon.text import printable

_POLL_MS = 100
_LOSS_EVERY_S = 1.0
_PATIENCE_S = 2.0  # before saying what is being waited for
_MAX_STAT = 4096
_GRACE_S = 5.0  # for the kernel to free a task: an RCU grace period and its callbacks


class Follower:
    """Reads events while the command and its descendants run."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what it joins
        self,
        kept: Kept,
        sensor: Sensor,
        pipeline: Pipeline,
        processes: Processes,
        record: Callable[[Record], None],
        faults: Faults,
        helper: int | None,
    ) -> None:
        """`helper` is the process that attaches probes; None: there is none."""
        self._kept = kept
        self._faults = faults
        self._sensor = sensor
        self._pipeline = pipeline
        self._processes = processes
        self._record = record
        self._next_loss_check = 0.0
        self._own = {os.getpid(), os.getppid(), helper}
        self.was_moved = False
        """Whether egressmon's own processes were found in the scope."""

    def until_command_ends(self, child: Launched, ending: Ending) -> None:
        """Return when the command's process has ended."""
        pidfd = child.pidfd
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self._sensor.engine.fileno(), select.POLLIN)
        timeout = _POLL_MS
        while not any(fd == pidfd for fd, _ in poller.poll(timeout)):
            timeout = self._turn()
        reap(self._kept, ending)

    # One turn of reading; returns how long to wait before the next, in ms.
    def _turn(self) -> int:
        try:
            batch = self._sensor.read()
            with self._sensor.intake.working():
                self._pipeline.take(batch)
            self._record_losses()
        except Exception as error:  # noqa: BLE001 -- what comes after must be read
            self._faults.note("reading events", error)
            time.sleep(_POLL_MS / 1000)  # what could not be read is still readable
            return _POLL_MS
        return 0 if self._sensor.intake.has_more else _POLL_MS

    def _record_losses(self) -> None:
        now = time.monotonic()
        if now >= self._next_loss_check:
            self._next_loss_check = now + _LOSS_EVERY_S
            for loss in self._sensor.new_losses():
                self._record(loss)

    def linger(self, wanted: EndWanted, limit_s: float | None, *, quiet: bool) -> None:
        """Return when no descendant is left, limit_s is over, or an end is wanted."""
        began = time.monotonic()
        told = quiet
        while self._remaining() and not wanted.is_set():
            waited = time.monotonic() - began
            if limit_s is not None and waited >= limit_s:
                break
            if not told and waited >= _PATIENCE_S:
                told = True
                self._tell()
            wanted.wait(_POLL_MS)
            self._turn()
        self._drain()

    def settle(self) -> int:
        """Wait until each process that is gone has been told of; return how many not.

        The kernel may skip the probe at an exit. Then it is seen as the task is
        freed, a moment later.
        """
        deadline = time.monotonic() + _GRACE_S
        while (missing := self._untold()) and time.monotonic() < deadline:
            time.sleep(_POLL_MS / 1000)
            self._drain()
        return missing

    def _drain(self) -> None:
        with self._faults.isolated("reading events"):
            self._pipeline.drain(self._sensor.read)

    def _untold(self) -> int:
        alive = {one.pid for one in self._processes.alive()}
        if not self._processes.proc_is_ours:
            return 0 if self._inside() else len(alive)
        return len(alive.difference(self._remaining()))

    def outlived(self) -> list[Outlived]:
        """Return the processes of the scope that still run."""
        return [Outlived(pid, self._comm(pid)) for pid in self._remaining()]

    # In the cgroup, or gone from it but of the command's lineage.
    def _remaining(self) -> list[int]:
        inside = self._inside()
        if not self._processes.proc_is_ours:
            return inside
        lineage = [one.pid for one in self._processes.alive() if is_running(one)]
        return sorted({*inside, *lineage})

    # Without egressmon's own: whoever is root can move them there.
    def _inside(self) -> list[int]:
        found = set(self._kept.pids())
        self.was_moved = self.was_moved or bool(found & self._own)
        return sorted(found - self._own)

    def _comm(self, pid: int) -> str:
        process = self._processes.get(pid)
        return process.comm if process else "unknown"

    def _tell(self) -> None:
        names = ", ".join(sorted({one.comm for one in self.outlived()}))
        sys.stderr.write(
            "egressmon: the command ended; waiting for what it left running "
            f"({printable(names)}); Ctrl-C ends the wait, --linger 0s avoids it\n"
        )


def reap(kept: Kept, ending: Ending) -> None:
    """Have the command waited for, and note in ending how it ended."""
    status = kept.reap()
    if os.WIFSIGNALED(status):
        ending.signal = os.WTERMSIG(status)
    else:
        ending.status = os.WEXITSTATUS(status)


# Fields 3 and 22 of proc_pid_stat(5): a zombie runs nothing any more, and another
# process may have got the number. The kernel cuts the start to clock ticks.
def is_running(process: Process) -> bool:
    """Tell whether this very process still runs."""
    try:
        stat = files.read(f"/proc/{process.pid}/stat", _MAX_STAT)
    except OSError:
        return False
    words = stat.rpartition(b")")[2].split()
    started = process.start_ns * os.sysconf("SC_CLK_TCK") // 1_000_000_000
    return words[:1] not in ([b"Z"], [b"X"]) and words[19:20] == [b"%d" % started]
