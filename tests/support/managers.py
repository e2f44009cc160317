"""Stands for systemd: its notify socket, and its store of descriptors."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from support.sidecars import PATIENCE_S, Json, Sidecar
from support.watching import EGRESSMON

# Becomes a program with the descriptors that are named first at 3 and on, as
# sd_listen_fds(3) has it.
_HAND_OVER = """
import fcntl, os, sys
names, count = sys.argv[1], int(sys.argv[2])
given = [int(one) for one in sys.argv[3:3 + count]]
apart = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 500) for one in given]
for place, one in enumerate(apart):
    os.dup2(one, 3 + place, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
os.environ["LISTEN_FDNAMES"] = names
os.execvp(sys.argv[3 + count], sys.argv[3 + count:])
"""
_MOST = 253


class Manager:
    """The manager of one service, which starts its main process again and again."""

    def __init__(self, one: Sidecar, *options: str) -> None:
        """`options` say what the service `one` is to watch."""
        self._one = one
        self._options = options
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(one.folder / "notify"))
        self._socket.settimeout(PATIENCE_S)
        self.store: list[tuple[str, int]] = []
        """What the service left here: names and descriptors."""
        self.answer: Json = {}
        """What was answered to the last stop()."""
        self.process: subprocess.Popen[bytes] | None = None

    def watch(self, *options: str) -> None:
        """Have it watch what `options` say, when it is started next."""
        self._options = options

    def _words(self) -> list[str]:
        one = self._one
        return [
            *(*EGRESSMON, "sidecar", *self._options, "--quiet"),
            *("--policy", str(one.folder / "egress.toml")),
            *("--evidence", str(one.folder / "evidence")),
            *("--runtime", one.runtime, "--heartbeat", "100ms"),
            *("--token-file", str(one.folder / "token")),
        ]

    def start(self, *, names: Sequence[str] | None = None) -> None:
        """Start it with all that is stored, and wait until it is ready.

        `names` are those that are said instead of the right ones.
        """
        (self._one.folder / "token").unlink(missing_ok=True)
        given = [one for _, one in self.store]
        said = names if names is not None else [name for name, _ in self.store]
        words = [*map(str, given), *self._words()]
        listen = [sys.executable, "-I", "-c", _HAND_OVER, ":".join(said)]
        self.process = subprocess.Popen(
            [*listen, str(len(given)), *words] if given else self._words(),
            env={**os.environ, "NOTIFY_SOCKET": str(self._one.folder / "notify")},
            pass_fds=given,
            stderr=subprocess.PIPE,
        )
        self.until("READY=1")
        self._one.started = {
            **self._one.status(),
            "pid": self.process.pid,
            "evidence": str(self._one.folder / "evidence"),
        }

    def until(self, first: str) -> None:
        """Do what is asked until the service says this."""
        assert self.process is not None
        while True:
            if select.select([self._socket], [], [], 1)[0]:
                if self._attend() == first:
                    return
            elif self.process.poll() is not None:
                raise AssertionError(self.process.communicate()[1].decode())

    # Do what the next message asks; return its first line.
    def _attend(self) -> str:
        data, found, _, _ = socket.recv_fds(self._socket, 4096, _MOST)
        said = data.decode().split("\n")
        lines = dict(one.split("=", 1) for one in said)
        if "FDSTORE" in lines:
            self.store += [(lines["FDNAME"], one) for one in found]
        elif "FDSTOREREMOVE" in lines:
            self.drop(lines["FDNAME"])
        return said[0]

    # Until it has ended, and all that it said is done.
    def _finish(self) -> int:
        assert self.process is not None
        self.process.communicate(timeout=PATIENCE_S)
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._attend()
        self._socket.settimeout(PATIENCE_S)
        return self.process.returncode

    def drop(self, name: str | None = None) -> None:
        """Close what is stored, of this name or all."""
        for one in [one for one in self.store if name in {None, one[0]}]:
            self.store.remove(one)
            os.close(one[1])

    def kill(self) -> None:
        """Kill all processes of the service, and wait until they are gone."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [*map(int, children.read_text().split())]
        held = [os.pidfd_open(pid) for pid in pids]
        self.process.kill()
        self.process.wait(PATIENCE_S)
        for pidfd in held:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self) -> int:
        """Have it end by the signal of `systemctl restart`; return its status."""
        assert self.process is not None
        self.process.terminate()
        self.until("STOPPING=1")
        return self._finish()

    def stop(self) -> int:
        """Conclude the run; return its status."""
        status, self.answer = self._one.stop()
        self.until("STOPPING=1")
        self._finish()
        return status

    def close(self) -> None:
        """End what still runs."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
            with suppress(ValueError):  # it was killed
                self.process.communicate()
        self._one.started = {}
        self.drop()
        self._socket.close()


@contextmanager
def manager(one: Sidecar, *options: str) -> Generator[Manager]:
    """Yield a manager whose service `one` is not started yet."""
    found = Manager(one, *options)
    try:
        yield found
    finally:
        found.close()
