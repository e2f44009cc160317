"""Programs beside the scope, in the test network's client namespace."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from support.lab import Lab


@dataclass(frozen=True)
class Outside:
    """A program that runs outside of any scope."""

    process: "subprocess.Popen[str]"

    def says(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def outside(network: Lab, code: str, *arguments: str) -> Generator[Outside]:
    """Run Python code in the client's namespace for as long as the context lasts."""
    process = subprocess.Popen(
        [*network.enter(), sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Outside(process)
    finally:
        process.terminate()
        process.stdin.close()
        process.stdout.close()
        process.wait()
