"""The process that keeps root's rights while a proof is made, and starts its runs.

It parses nothing that a watched command could have made. What does that (the answers of
servers, logs, evidence) is the conductor, its child, which has the user's rights alone
and which other processes of this user cannot look into. The conductor asks for each
run; a run is a child of this process that does what `egressmon watch` does. So sudo is
called once, whatever the number of runs and however long they take.
"""

import ctypes
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from egressmon.privileges.confinement import hide
from egressmon.privileges.privilege import User, drop_to
from egressmon.proofs.starting.channel import Channel
from egressmon.proofs.starting.one_run import RunSettings, carry_out
from egressmon.startup import descriptors, dispositions, patience, streams
from egressmon.text import printable

INCOMPLETE = 121
_PATIENCE_MS = 10_000
_MANY = 12
_SET_DEATH_SIGNAL = 1  # include/uapi/linux/prctl.h
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
# `egressmon watch` passes these on to its command: here, there is no one command.
_NOT_OURS = (signal.SIGUSR1, signal.SIGUSR2)


class Starter:
    """Serves one conductor until that ends."""

    def __init__(self, channel: Channel, settings: RunSettings, folder: str) -> None:
        """`folder` is where the proof goes."""
        self._channel = channel
        self._folder = folder
        self._settings = settings
        self._run: tuple[int, int] | None = None
        """The pid and pidfd of the run that is being made."""
        self._is_connected = True
        self._asked = 0
        """How often a run was asked to end."""

    def serve(self, conductor: int) -> int:
        """Start runs until the process `conductor` ends; return its exit status."""
        wakeup = _wakeup()
        while self._is_connected or self._run is not None:
            poll = select.poll()
            poll.register(wakeup, select.POLLIN)
            if self._is_connected:
                poll.register(self._channel, select.POLLIN)
            if self._run is not None:
                poll.register(self._run[1], select.POLLIN)
            # Without a conductor, the launcher ends all by itself, if it can.
            limit_ms = None if self._is_connected else _PATIENCE_MS
            ready = {number for number, _ in poll.poll(limit_ms)}
            if not ready:
                self._end_run()
            self._attend(ready, wakeup)
        _, status = os.waitpid(conductor, 0)
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        patience.say(
            "egressmon: incomplete: the process that makes the proof was ended by "
            f"signal {os.WTERMSIG(status)}; what there is of it is in "
            f"{printable(self._folder, 1000)}\n"
        )
        return INCOMPLETE

    def _attend(self, ready: set[int], wakeup: socket.socket) -> None:
        if wakeup.fileno() in ready:
            self._pass_on(wakeup.recv(16))
        if self._run is not None and self._run[1] in ready:
            self._reap(*self._run)
        if self._is_connected and self._channel.fileno() in ready:
            self._take()

    def _pass_on(self, numbers: bytes) -> None:
        for number in set(numbers) & set(map(int, _ENDING)):
            with suppress(OSError):  # the conductor is gone
                self._channel.send({"signal": number})

    def _reap(self, pid: int, pidfd: int) -> None:
        self._run = None
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        with suppress(OSError):
            self._channel.send({"run_ended": os.waitstatus_to_exitcode(status)})

    def _take(self) -> None:
        received = self._channel.receive()
        if received is None:
            self._is_connected = False
            return
        message, files = received
        if "end_run" in message:
            self._end_run()
        if self._run is None and len(files) == 3:
            self._run = self._start(message["path"], message["linger_s"], files)
        for number in files:
            os.close(number)

    # Kills whatever runs in the scope: the run then ends by itself.
    def _end_run(self) -> None:
        if self._run is None:
            return
        self._asked += 1
        number = signal.SIGTERM if self._asked < _MANY else signal.SIGKILL
        signal.pidfd_send_signal(self._run[1], number)

    def _start(self, path: str, linger_s: float, files: list[int]) -> tuple[int, int]:
        starter = os.getpid()
        pid = os.fork()
        if not pid:
            self._channel.close()
            _forget_signals()
            _end_after(starter)
            # A terminal's Ctrl-C is the conductor's to answer: it ends the processes
            # in order, and the run then ends by itself.
            os.setpgid(0, 0)
            _end_with(lambda: carry_out(self._settings, path, linger_s, files), 125)
        return pid, os.pidfd_open(pid)


def supervise(
    settings: RunSettings, user: User, folder: str, conduct: Callable[[Channel], int]
) -> int:
    """Have `conduct` make the proof in `folder` with the rights of `user`.

    Return its status.
    It is given the channel by which runs are asked for.
    """
    descriptors.hand_down()
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = Channel.pair()
    conductor = os.fork()
    if not conductor:
        ours.close()
        _end_with(lambda: _conduct(user, conduct, theirs), INCOMPLETE)
    theirs.close()
    return Starter(ours, settings, folder).serve(conductor)


def _conduct(user: User, conduct: Callable[[Channel], int], channel: Channel) -> int:
    # Nothing that it starts is the command's: those are the launcher's.
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    drop_to(user)
    hide()
    return conduct(channel)


# In a child, which must not go on as the starter, whatever happens.
def _end_with(work: Callable[[], int], status: int) -> NoReturn:
    try:
        status = work()
    except Exception:  # noqa: BLE001 -- as above
        import traceback  # noqa: PLC0415 -- slow, and rarely needed

        traceback.print_exc()
    finally:
        streams.flush_and_exit(status)


# Signals are numbers in a socket from here on.
def _wakeup() -> socket.socket:
    read, write = socket.socketpair()
    write.setblocking(False)
    signal.set_wakeup_fd(write.detach(), warn_on_full_buffer=False)
    for number in (*_ENDING, *_NOT_OURS):
        if number not in dispositions.ignored():
            signal.signal(number, _nothing)
    return read


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (*_ENDING, *_NOT_OURS):
        if number not in dispositions.ignored():
            signal.signal(number, signal.SIG_DFL)


# The conductor ends the scenario when the starter is gone, if nobody has stopped it: so
# the kernel asks the run for its end, too, just as `_end_run` does.
def _end_after(starter: int) -> None:
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, ctypes.c_ulong(signal.SIGTERM))
    if os.getppid() != starter:  # it ended before
        os.kill(os.getpid(), signal.SIGTERM)


def _nothing(*_: object) -> None:
    pass
