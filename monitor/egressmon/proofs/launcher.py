"""The process of the scope that starts what a plan names, as prove asks it to.

It is what a run watches as its command: so all that it starts is in the scope. It runs
as the user, as do the processes that it starts, which are not trusted: before the first
of them, it has the kernel refuse to let them look into it (it cannot be dumped), so
that none can take its place at the channel. It ends with the channel, and ends then
what it has started.

Run as `python -I -m egressmon.proofs.launcher DESCRIPTOR`.
"""

import ctypes
import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

from egressmon.proofs.starting.channel import Channel, Message

_SET_DUMPABLE = 4  # include/uapi/linux/prctl.h
_PROBE_S = 2.0
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Launcher:
    """Starts processes, signals their groups and tells how they end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        """By pidfd. None is reaped before the end: so no other gets its number, and a
        signal to its group reaches nobody else."""
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Do what is asked, until prove asks for the end or is gone."""
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._channel.send({"hello": os.getpid()})
        try:
            while self._turn():
                pass
        finally:
            for one in self._started.values():
                _signal_group(one, signal.SIGKILL)

    def _turn(self) -> bool:
        for key, _ in self._selector.select():
            if key.fileobj is not self._channel:
                self._tell_end(key.fd)
            elif not self._take():
                return False
        return True

    def _take(self) -> bool:
        received = self._channel.receive()
        if received is None:
            return False
        message, files = received
        try:
            return self._do(message, files)
        finally:
            for number in files:
                os.close(number)

    def _do(self, message: Message, files: list[int]) -> bool:
        match message.get("do"):
            case "start":
                self._start(message, files[0])
            case "signal":
                _signal_group(self._started[message["id"]], message["number"])
            case "probe":
                self._channel.send({"probed": message["id"], "result": probe(message)})
            case _:
                return False
        return True

    def _start(self, message: Message, output: int) -> None:
        name = message["id"]
        try:
            started = subprocess.Popen(  # noqa: S603 -- it is what the plan says
                message["argv"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=message["cwd"],
                env=message["env"],
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            code = getattr(error, "errno", None) or errno.EINVAL
            self._channel.send({"failed": name, "errno": code})
            return
        self._started[name] = started
        pidfd = os.pidfd_open(started.pid)
        self._running[pidfd] = name, started
        self._selector.register(pidfd, selectors.EVENT_READ)
        self._channel.send({"started": name, "pid": started.pid})

    def _tell_end(self, pidfd: int) -> None:
        name, _ = self._running.pop(pidfd)
        self._selector.unregister(pidfd)
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        os.close(pidfd)
        exited = found is not None and found.si_code == os.CLD_EXITED
        number = found.si_status if found is not None else 0
        self._channel.send({"ended": name, "status": number if exited else -number})


# A group that is gone needs no signal.
def _signal_group(one: subprocess.Popen[bytes], number: int) -> None:
    with suppress(OSError):
        os.killpg(one.pid, number)


def probe(message: Message) -> str:
    """Make the connection that `message` asks for; return how it went, in a word."""
    is_udp = message["protocol"] == "udp"
    kind = socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(message["host"], message["port"], type=kind)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as one:
            one.settimeout(_PROBE_S)
            one.connect(address)
            if is_udp:
                one.send(b"\0")
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "connected"


def _be_hidden() -> None:
    zero = ctypes.c_ulong(0)
    if ctypes.CDLL(None).prctl(_SET_DUMPABLE, zero, zero, zero, zero):
        raise OSError("prctl")


# What is ignored here would be ignored in what is started, too: a handler is not.
def _stay() -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _nothing)


def _nothing(*_: Any) -> None:
    pass


def main() -> None:
    """Serve prove at the descriptor that is named, and end with 0."""
    _be_hidden()
    _stay()
    inherited = Channel.of(int(sys.argv[1]))
    # Others hold the inherited end, too: of this pair, nobody else has one.
    ours, theirs = Channel.pair()
    inherited.send({"channel": 1}, theirs.fileno())
    inherited.close()
    theirs.close()
    with suppress(OSError):  # prove is gone
        Launcher(ours).serve()


if __name__ == "__main__":
    main()
