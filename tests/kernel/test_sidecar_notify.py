"""A sidecar as a unit's main process: what systemd would be told, and when."""

import os
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.sidecars import PATIENCE_S, Sidecar, cgroup, sidecar
from support.watching import EGRESSMON


class Manager:
    """Stands for systemd: its end of the socket, and the unit's main process."""

    def __init__(self, one: Sidecar, watched: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(one.folder / "notify"))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(PATIENCE_S)
        self.process = subprocess.Popen(
            [
                *(*EGRESSMON, "sidecar", "--cgroup", str(watched), "--quiet"),
                *("--policy", str(one.folder / "egress.toml")),
                *("--evidence", str(one.folder / "evidence")),
                *("--runtime", one.runtime),
                *("--token-file", str(one.folder / "token")),
            ],
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(one.folder / "notify"),
                "WATCHDOG_USEC": "1000000",
            },
            stderr=subprocess.PIPE,
        )

    def until(self, first: str) -> int:
        """Wait until it is told this, and return by which process."""
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, 1024)
            lines = data.decode().split("\n")
            assert all("=" in one for one in lines)
            if lines[0] == first:
                return int.from_bytes(ancillary[0][2][:4], "little")

    def close(self) -> None:
        self._socket.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate()


@contextmanager
def unit(one: Sidecar, watched: Path) -> Generator[Manager]:
    manager = Manager(one, watched)
    try:
        yield manager
    finally:
        manager.close()


@pytest.mark.smoke
def test_the_manager_is_told_by_the_main_process() -> None:
    with cgroup() as watched, sidecar() as one, unit(one, watched) as manager:
        main = manager.process.pid
        assert manager.until("READY=1") == main
        assert one.status()["state"] == "watching"  # it is, as soon as that is said
        assert manager.until("WATCHDOG=1") == main
        token = ["--token-file", str(one.folder / "token")]
        assert one.ask("reload", *token).returncode == 0
        assert manager.until("RELOADING=1") == main
        assert manager.until("READY=1") == main
        assert one.ask("stop", *token).returncode == 0
        assert manager.until("STOPPING=1") == main
        assert manager.process.wait(PATIENCE_S) == 0
