"""Run a client under `egressmon watch`, where all vendors are a stand-in."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phases import Mark, Touched, read
from sdks import Ready
from vendor_network import PROXY, Network

_FROM_OUTSIDE = ("PATH", "HOME", "LANG")
PROXIED = {"HTTPS_PROXY": f"http://{PROXY}:3128"}
LIMIT_S = 120


class RunError(Exception):
    """A run did not end well; the message says why."""


@dataclass(frozen=True)
class Runner:
    """Runs commands in the network."""

    egressmon: Sequence[str]
    """The words that run it."""
    net: Network

    def watch(
        self,
        folder: Path,
        words: Sequence[str],
        environment: Mapping[str, str],
        options: Sequence[str] = (),
    ) -> Path:
        """Watch a command in `folder`; return its evidence, which is below there.

        The command has little in its environment, and `environment`.
        """
        evidence = folder / "evidence.jsonl"
        watch = [*self.egressmon, "watch", "--quiet", "--evidence", str(evidence)]
        own = {name: os.environ[name] for name in _FROM_OUTSIDE if name in os.environ}
        done = subprocess.run(
            [*self.net.enter(), *watch, *options, "--", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=folder,
            env={**own, **self.net.trusting(), **environment},
        )
        if done.returncode:
            raise RunError(f"status {done.returncode}: {done.stderr}")
        return evidence

    def touched(
        self, ready: Ready, environment: Mapping[str, str] | None = None
    ) -> dict[str, Touched]:
        """Return what a run of the SDK touched in each phase."""
        with tempfile.TemporaryDirectory(prefix="egressmon-surfaces-") as made:
            marks = Path(made) / "marks"
            words = (*ready.words, str(marks))
            given = {**ready.environment, **(environment or {})}
            evidence = self.watch(Path(made), words, given)
            with evidence.open(encoding="utf-8") as lines:
                return read(lines, _marks(marks))


def _marks(path: Path) -> list[Mark]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Mark(**json.loads(line)) for line in lines]
