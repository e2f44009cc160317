"""Stop as the command stops, so that the shell that waits for egressmon is told.

A shell's job control waits for the keeper, and the command is the keeper's child. One
that stops itself alone (less, ssh, a shell's `suspend`) must stop the keeper, too; a
sudo in between stops with it. Somebody may then continue the command alone, and what is
stopped could not end: so a process beside them looks, as long as they are stopped, and
continues them with the command.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from egressmon.privileges.confinement import end_with_parent
from egressmon.startup import caller

_LOOK_S = 0.1
_LOOKS = 20


class Stops:
    """A thread that waits for the stops of the child process `pid`."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    # What ends it is that there is no such child any more (ECHILD).
    def _work(self) -> None:
        with suppress(OSError):
            while os.waitid(os.P_PIDFD, self._pidfd, os.WSTOPPED):
                self._stop()

    def _stop(self) -> None:
        if not is_stopped(self._pid):  # Ctrl-Z had stopped us, too, and is over
            return
        beside = os.fork()
        if not beside:
            _continue_with(self._pid, os.getppid())
        # To this very thread: it goes on only once all of the process is continued. The
        # signal that stopped the command (SIGTSTP) may be ignored here.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        with suppress(ProcessLookupError):
            os.kill(beside, signal.SIGKILL)
        os.waitpid(beside, 0)
        if is_stopped(self._pid):
            signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
        self._keep_sudo_going()

    # It stops when it is told that we did, which may be after we went on.
    def _keep_sudo_going(self) -> None:
        for _ in range(_LOOKS if caller.calling_sudo() else 0):
            time.sleep(_LOOK_S)
            if is_stopped(self._pid):
                return
            _continue_sudo()


# In the child, which must not go on from here, whatever happens.
def _continue_with(command: int, keeper: int) -> NoReturn:
    try:
        end_with_parent(signal.SIGKILL)
        os.setsid()  # so that no signal to the group stops it
        while os.getppid() == keeper and is_stopped(command):
            time.sleep(_LOOK_S)
        if os.getppid() == keeper:
            _continue_sudo()
            os.kill(keeper, signal.SIGCONT)  # which then ends this process
    finally:
        os._exit(0)


def _continue_sudo() -> None:
    sudo = caller.calling_sudo()
    for pidfd in sudo.pidfds if sudo is not None else ():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)


def is_stopped(pid: int) -> bool:
    """Tell whether the process is stopped (T in proc_pid_stat(5))."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return words[:1] == [b"T"]
