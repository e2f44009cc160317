"""A sidecar for a test: its folders, and what may be asked of it."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egressmon.sensor.scope import find_root
from egressmon.verifying.result import Result, Wanted
from egressmon.verifying.walking.place import verify
from egressmon.verifying.witnesses.anchors import Anchors
from support.runners import Runner, github
from support.watching import EGRESSMON, read_records

Json = dict[str, Any]
PATIENCE_S = 120
# Only root may write in the folders above a sidecar's, as is so below /run.
ROOTS = "/run"


@dataclass
class Sidecar:
    """A sidecar that has been started, and is stopped by the test."""

    folder: Path
    started: Json = field(default_factory=dict[str, Any])

    @property
    def runtime(self) -> str:
        """The folder of its socket."""
        return str(self.folder / "run")

    def ask(
        self, *words: str, prefix: Sequence[str] = (), **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Ask it something, by the command line."""
        return subprocess.run(
            [*prefix, *EGRESSMON, "sidecar", *words, "--runtime", self.runtime],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            **how,
        )

    def start(
        self, *options: str, prefix: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Start it, and wait until it watches."""
        token = ["--token-file", str(self.folder / "token")]
        where = ["--evidence", str(self.folder / "evidence"), "--detach", "--json"]
        done = self.ask(*options, *where, *token, prefix=prefix)
        if done.returncode == 0:
            self.started = json.loads(done.stdout)
        return done

    def start_in(
        self,
        job: Runner,
        *options: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it in a step of `job`'s, the first, with the test's policy."""
        words = ["sidecar", *options, "--policy", str(self.folder / "egress.toml")]
        words += ["--evidence", str(self.folder / "evidence"), "--detach", "--json"]
        words += ["--token-file", str(self.folder / "token"), "--runtime", self.runtime]
        tells = environment if environment is not None else github("start")
        done = job.run(*EGRESSMON, *words, environment=tells)
        assert done.returncode == 0, done.stderr
        self.started = json.loads(done.stdout)

    def stop(self, *options: str) -> tuple[int, Json]:
        """Conclude the run; return the status, and what was answered."""
        token = ["--token-file", str(self.folder / "token")]
        done = self.ask("stop", "--json", *(options or token))
        return done.returncode, json.loads(done.stdout or "null")

    def status(self) -> Json:
        """Return how it goes."""
        done = self.ask("status", "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    @property
    def keeper(self) -> int:
        """The pid of its first process."""
        return int(self.started["pid"])

    def segments(self) -> list[Path]:
        """Return the files of its run's evidence, in their order."""
        folder = Path(self.started["evidence"])
        return sorted(folder.glob(f"{self.started['run']}-*.jsonl"))

    def records(self) -> list[Json]:
        """Return its evidence, which is whole and valid."""
        return read_records(b"".join(one.read_bytes() for one in self.segments()))

    def verify(self, log: Path | None = None) -> Result:
        """Return what `egressmon verify` says of its evidence and a log's anchors."""
        anchors = None if log is None else Anchors(str(log))
        wanted = Wanted(policy=str(self.folder / "egress.toml"), anchors=anchors)
        return verify(self.started["evidence"], wanted)

    def verified(self) -> list[Json]:
        """Return its evidence, in which `egressmon verify` finds nothing wrong."""
        result = self.verify()
        assert (result.found, result.unreadable) == ([], []), result
        assert [one.run for one in result.files] == [self.started["run"]]
        return self.records()

    def reached(self, **fields: object) -> list[Json]:
        """Return the connections whose fields of `dst` are these."""
        return [
            one
            for one in self.records()
            if one["type"] == "connection"
            and all(one["dst"][name] == value for name, value in fields.items())
        ]


@contextmanager
def sidecar(policy: str = "", where: str | Path = ROOTS) -> Generator[Sidecar]:
    """Yield a sidecar that is not started yet; end what is left of it.

    `where` its folder is, only root may write.
    """
    folder = Path(tempfile.mkdtemp(prefix="egressmon-test-", dir=where))
    folder.chmod(0o755)
    (folder / "egress.toml").write_text(f"version = 1\n{policy}")
    one = Sidecar(folder)
    try:
        yield one
    finally:
        if one.started:
            with suppress(ProcessLookupError):
                os.kill(one.keeper, 15)
            _until_gone(one.keeper)
        shutil.rmtree(folder)


def _until_gone(pid: int) -> None:
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        import select  # noqa: PLC0415 -- only here

        assert select.select([pidfd], [], [], PATIENCE_S)[0]
        os.close(pidfd)


@contextmanager
def cgroup() -> Generator[Path]:
    """Yield a new cgroup, which is empty again at the end."""
    path = find_root() / f"sidecar-test-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir()
    try:
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        for below in sorted(path.glob("**/"), reverse=True):
            while "populated 1" in (below / "cgroup.events").read_text():
                pass
            below.rmdir()


def inside(path: Path, *words: str) -> list[str]:
    """Return the words that run `words` in the cgroup `path`."""
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(path), *words]
