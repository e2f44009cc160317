"""The nightly example, copied to where a project has it, in a stand-in's network."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from environments import python_with
from support.watching import EGRESSMON, LIMIT_S
from vendor_network import Network

EXAMPLE = Path(__file__).parents[2] / "docs/examples/nightly"
KEY = "stand-in-key-0123456789-abcdef"
_PLAIN = ("PATH", "HOME", "LANG")


@dataclass
class Nightly:
    """A project with the example in its folder `nightly`."""

    net: Network
    folder: Path
    """The project: the working directory of all that runs."""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    """Is added to what the scripts get."""

    def __post_init__(self) -> None:
        """Copy the example, and make `egressmon` a program on the PATH."""
        shutil.copytree(EXAMPLE, self.folder / "nightly")
        shutil.copy(EXAMPLE / "egress.toml", self.folder)
        programs = self.folder.parent / "programs"
        programs.mkdir()
        script = f'#!/bin/sh\nexec {" ".join(EGRESSMON)} "$@"\n'
        (programs / "egressmon").write_text(script)
        (programs / "egressmon").chmod(0o755)
        self.programs = programs
        self.key = self.folder.parent / "key"
        self.key.write_text(KEY + "\n")

    @property
    def call(self) -> tuple[str, ...]:
        """The words that make the call with the SDK."""
        return (str(python_with("sdks")), "nightly/call.py")

    def variables(self) -> dict[str, str]:
        """Return what the scripts have in their environment."""
        own = {name: os.environ[name] for name in _PLAIN if name in os.environ}
        own["PATH"] = f"{self.programs}:{own.get('PATH', os.defpath)}"
        return {**own, **self.net.trusting(), **self.environment}

    def run(
        self,
        *words: str,
        given: str | None = None,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run words in the project, in the network where the vendor is the stand-in."""
        return subprocess.run(
            [*self.net.enter(), *words],
            check=False,
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=self.folder,
            env={**self.variables(), **environment},
        )

    def script(
        self, *call: str, out: str = "out", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run nightly.sh with the key in a file."""
        given: Mapping[str, str] = {
            "KEY_FILE": str(self.key),
            "OUT": out,
            **environment,
        }
        return self.run("nightly/nightly.sh", *(call or self.call), **given)

    def evidence(self, out: str = "out") -> Path:
        """Return where a run has left its evidence."""
        return self.folder / out / "evidence.jsonl"

    def egressmon(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run egressmon in the project."""
        return self.run(*EGRESSMON, *words)
