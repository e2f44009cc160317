"""A room with container engines: a small machine of its own beside this one.

It has a root folder (making.py), cgroup v2 alone, and the client's side of a test
network; the pids are the machine's, so that what watches the machine watches it.
Whatever is started there is in one cgroup, and ends with it.
"""

import os
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from egressmon.sensor.scope import find_root
from support.lab import SERVER4, Lab
from support.sidecars import ROOTS, inside

_HERE = Path(__file__).parent
REPOSITORY = _HERE.parents[2]
PATIENCE_S = 120
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Done:
    """A command that ended: its status, and what it wrote."""

    status: int
    out: str


@dataclass
class Room:
    """The room; `shared` appears as /shared in it."""

    cgroup: Path
    shared: Path
    holder: int
    network: Lab
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def enter(self, *words: str, sees_machine: bool = False) -> list[str]:
        """Return the words that run `words` in the room.

        With `sees_machine`, all cgroups are seen, as they are on the machine.
        """
        variables = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        variables |= self.environment
        spaces = ["--mount", "--uts", "--ipc", "--net"]
        if not sees_machine:
            spaces.append("--cgroup")
        return inside(
            self.cgroup / "host",
            *("nsenter", f"--target={self.holder}", *spaces),
            *(
                "env",
                "-C",
                "/",
                "-i",
                *(f"{name}={value}" for name, value in variables.items()),
            ),
            *words,
        )

    def run(self, *words: str, patience_s: float = PATIENCE_S) -> Done:
        """Run a command in the room, and return how it ended."""
        done = subprocess.run(
            self.enter(*words),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=patience_s,
        )
        return Done(done.returncode, done.stdout)

    def do(self, *words: str) -> str:
        """Run a command that must succeed, and return what it wrote."""
        done = self.run(*words)
        assert done.status == 0, f"{words}: {done.out[-4000:]}"
        return done.out

    def start(self, log: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in the room that stays; its output goes to /shared/LOG."""
        with (self.shared / log).open("wb") as output:
            return subprocess.Popen(
                self.enter(*words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def _words(
    cgroup: Path, root: Path, scratch: Path, shared: Path, net: str
) -> list[str]:
    new = ("--mount", "--uts", "--ipc", "--cgroup", "--propagation=private")
    return inside(
        cgroup,
        *("nsenter", f"--net=/run/netns/{net}", "unshare", *new),
        *("bash", str(_HERE / "room.sh"), str(root), str(scratch), str(shared)),
        *map(str, [find_root(), *_ours()]),
    )


# What egressmon needs to run in the room: its checkout, and this Python.
def _ours() -> list[Path]:
    base = Path(sys.base_prefix)
    if base != Path("/usr"):
        return [REPOSITORY, base]
    library = Path(sysconfig.get_path("stdlib"))
    names = [Path(sys.executable)]
    while names[-1].is_symlink():
        names.append(names[-1].parent / names[-1].readlink())
    outside = [one for one in names if not one.is_relative_to(REPOSITORY)]
    return [REPOSITORY, *outside, library]


@contextmanager
def _guarded(folder: Path) -> Generator[Path]:
    path = find_root() / f"engines-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir()
    words = [sys.executable, "-I", str(_HERE / "guard.py"), str(path), str(folder)]
    guard = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield path
    finally:
        guard.communicate()  # ends its input
        assert guard.returncode == 0, "something of the engines is left"


def _until_ready(output: IO[bytes]) -> None:
    assert select.select([output], [], [], PATIENCE_S)[0], "the room is not ready"
    said = output.readline()
    assert said == b"ready\n", f"the room was not made: {said!r}"


@contextmanager
def room(root: Path, network: Lab) -> Generator[Room]:
    """Yield a room on the client's side of `network`; nothing of it stays.

    All that leaves it goes to the network's server.
    """
    default = ("ip", "-n", network.client, "route", "replace", "default", "via")
    subprocess.run([*default, SERVER4], check=True)
    folder = Path(tempfile.mkdtemp(prefix="egressmon-engines-", dir=ROOTS))
    folder.chmod(0o755)
    scratch, shared = folder / "scratch", folder / "shared"
    scratch.mkdir()
    shared.mkdir()
    shutil.copy(network.folder / "resolv.conf", shared)
    with _guarded(folder) as cgroup:
        holder = subprocess.Popen(
            _words(cgroup, root, scratch, shared, network.client),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            _until_ready(holder.stdout)
            yield Room(cgroup, shared, holder.pid, network)
        finally:
            holder.communicate()
