"""A sidecar as a unit's main process: what systemd would be told, and when."""

import json
import os
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import pytest

from support.lab import Lab
from support.sidecars import PATIENCE_S, Sidecar, cgroup, inside, sidecar
from support.watching import EGRESSMON

# Runs egressmon from files that nobody but root may read.
ROOTS_OWN = """
import os, sys
class RootsOwn:
    def find_spec(self, name, path=None, target=None):
        if os.geteuid() and name.startswith("egressmon"):
            raise ImportError(f"{name} cannot be read")
sys.meta_path.insert(0, RootsOwn())
from egressmon.start import main
main()
"""


class Manager:
    """Stands for systemd: its end of the socket, and the unit's main process.

    As systemd does, it reads at once what it is told: the kernel holds ten messages for
    it (net.unix.max_dgram_qlen), and who tells it does not wait.
    """

    def __init__(
        self, one: Sidecar, watched: Path, program: Sequence[str] = EGRESSMON
    ) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(one.folder / "notify"))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._told: SimpleQueue[tuple[list[str], int]] = SimpleQueue()
        self._reader = Thread(target=self._read)
        self._reader.start()
        self.process = subprocess.Popen(
            [
                *(*program, "sidecar", "--cgroup", str(watched), "--quiet"),
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

    def _read(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, 4096)
            if not data:
                return  # it is closed
            by = 0
            for _, kind, content in ancillary:
                if kind == socket.SCM_CREDENTIALS:
                    by = int.from_bytes(content[:4], sys.byteorder)
                else:  # SCM_RIGHTS: they are not stored here
                    _close(array("i", content[: len(content) // 4 * 4]))
            self._told.put((data.decode().split("\n"), by))

    def until(self, first: str) -> int:
        """Wait until it is told this, and return by which process."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"it was not told {first}"
            with suppress(Empty):
                lines, by = self._told.get(timeout=left)
                assert all("=" in one for one in lines)
                if lines[0] == first:
                    return by

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate()
        self._socket.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._socket.close()


def _close(descriptors: Iterable[int]) -> None:
    for one in descriptors:
        os.close(one)


@contextmanager
def unit(
    one: Sidecar, watched: Path, program: Sequence[str] = EGRESSMON
) -> Generator[Manager]:
    manager = Manager(one, watched, program)
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


def test_nothing_is_imported_once_the_rights_are_gone(network: Lab) -> None:
    program = [sys.executable, "-I", "-c", ROOTS_OWN]
    script = (
        "dig +tries=1 +time=2 four.example.test >/dev/null; "
        "/bin/bash -c ': > /dev/tcp/10.213.7.2/4601'; true"
    )
    with cgroup() as watched, sidecar() as one, unit(one, watched, program) as manager:
        manager.until("READY=1")
        token = ["--token-file", str(one.folder / "token")]
        words = [*network.enter(), *inside(watched, "bash", "-c", script)]
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
        assert one.ask("mark", "build").returncode == 0
        assert one.ask("reload", *token).returncode == 0
        done = one.ask("stop", "--json", *token)
        answer = json.loads(done.stdout)

    assert (done.returncode, answer["incomplete_reasons"]) == (0, [])
    assert sum(answer["queries"].values()) >= 1
    assert sum(answer["connections"].values()) >= 1
