"""A stand-in for a CI system's agent: a program of that name, which starts steps."""

import json
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Starts what each line says, as its own child, and answers with how that went.
_SCRIPT = """\
import json, subprocess, sys
for line in sys.stdin:
    asked = json.loads(line)
    done = subprocess.run(
        asked["words"], env=asked["environment"], stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Runner:
    """An agent that waits for steps."""

    process: "subprocess.Popen[str]"
    environment: Mapping[str, str]
    """What every step has, besides its own."""

    def run(
        self, *words: str, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Have it run `words` as a step with that environment; wait for the end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"words": words, "environment": {**self.environment, **environment}}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer: list[Any] = json.loads(self.process.stdout.readline())
        return subprocess.CompletedProcess(words, *answer)

    def step(
        self, name: str, *words: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Have it run `words` as GitHub runs a step that has the id `name`."""
        return self.run(*words, environment={**github(name), **more})


def github(name: str) -> dict[str, str]:
    """Return what tells of a step in the environment that GitHub sets."""
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION": name,
        "GITHUB_JOB": "build",
        "GITHUB_RUN_ID": "77",
        "GITHUB_WORKFLOW": "ci",
        "GITHUB_REPOSITORY": "owner/project",
        "RUNNER_NAME": "stand-in",
        "GITHUB_TOKEN": "not-to-be-kept",
        # As long as where a real one has two hundred variables.
        **{f"VARIABLE_{number}": "x" * 60 for number in range(150)},
    }


@contextmanager
def runner(
    folder: Path, name: str = "Runner.Worker", prefix: Sequence[str] = ()
) -> Generator[Runner]:
    """Yield an agent whose program is called `name`; it ends with the block."""
    program = folder / name
    shutil.copy(Path(sys.executable).resolve(), program)
    process = subprocess.Popen(
        [*prefix, str(program), "-I", "-c", _SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Runner(process, {"PATH": PATH})
    finally:
        process.communicate()
