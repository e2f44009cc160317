"""Make a proof as a user does, and read what it left."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.watching import EGRESSMON, ENGINE, LIMIT_S, read_evidence

Json = dict[str, Any]
# Reading what a run left takes its time on an emulated machine.
_IN_TIME = ("--catch-up", f"{LIMIT_S / 2:g}s")


@dataclass(frozen=True)
class Proof:
    """A proof, and how prove ended."""

    status: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def summary(self) -> Json:
        """The aggregate summary."""
        return self.of_file("summary.json")

    @property
    def verdict(self) -> str:
        """PASS, FAIL or INCOMPLETE."""
        return str(self.summary["verdict"])

    @property
    def reason(self) -> str:
        """Why it is not PASS."""
        return str(self.summary["reason"])

    def of_file(self, name: str) -> Json:
        """Return the JSON in a file of the proof."""
        return dict(json.loads((self.folder / name).read_text()))

    def criterion(self, name: str) -> Json:
        """Return the aggregate criterion that begins so."""
        (found,) = [
            one for one in self.summary["criteria"] if one["name"].startswith(name)
        ]
        return dict(found)

    def records(self, number: int = 1) -> list[Json]:
        """Return the evidence of a run."""
        return read_evidence(self.folder / f"run-{number:02d}" / "evidence.jsonl")

    def log(self, name: str, number: int = 1) -> str:
        """Return what a process of a run wrote."""
        return (self.folder / f"run-{number:02d}" / f"{name}.log").read_text()

    def files(self) -> set[str]:
        """Return the paths of all files."""
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)) for path in found}


def words(*arguments: str) -> list[str]:
    """Return the words that run `egressmon prove` with the arguments."""
    return [*EGRESSMON, "prove", "--engine", ENGINE, *_IN_TIME, *arguments]


def prove(
    folder: Path,
    *arguments: str,
    plan: str | None = None,
    policy: str = "version = 1\n",
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Proof:
    """Run `egressmon prove` in folder, on a plan if there is one."""
    (folder / "egress.toml").write_text(policy)
    named: list[str] = []
    if plan is not None:
        (folder / "plan.toml").write_text(plan)
        named = ["plan.toml"]
    given = {**os.environ, **(environment or {})}
    given.pop("PYTEST_CURRENT_TEST", None)
    done = subprocess.run(
        [*prefix, *words(*named, "--output", "proof", *arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        cwd=folder,
        env=given,
    )
    return Proof(done.returncode, done.stdout, done.stderr, folder / "proof")
