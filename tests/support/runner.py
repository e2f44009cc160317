"""A runner of GitHub Actions, as far as one action's files and commands go.

It runs an action's main, a job's steps, and the action's post, each with environment
files of its own, and reads what they wrote as the runner does. After: docs.github.com,
"Workflow commands for GitHub Actions" and "Metadata syntax", and actions/runner:
ActionCommand.cs, FileCommandManager.cs, HandlerFactory.cs, SecretMasker.cs.
"""

import os
import re
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_FILES = (
    *("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT"),
    *("GITHUB_STATE", "GITHUB_STEP_SUMMARY"),
)
_COMMAND = re.compile(r"\s*::([A-Za-z-]+)(?: (.*?))?::(.*)", re.DOTALL)
_OLD_COMMAND = re.compile(r"##\[([A-Za-z-]+)[^\]]*\](.*)")
_ESCAPES = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_PATIENCE_S = 60


class FileError(Exception):
    """What a step wrote to an environment file; the runner fails the step."""


class Command(NamedTuple):
    """A workflow command that the runner carried out."""

    name: str
    properties: str
    text: str


class Step(NamedTuple):
    """How one step ended."""

    name: str
    status: int
    log: str
    """As it is shown: with what is masked hidden."""
    commands: list[Command]
    outputs: dict[str, str]
    state: dict[str, str]
    summary: str


class Job:
    """One job: its environment, its masks, and its steps so far."""

    def __init__(
        self, action: Path, folder: Path, inputs: Mapping[str, str] | None = None
    ) -> None:
        """Use the action whose action.yml is in `action`; write below `folder`."""
        self._action = action
        self._folder = folder
        self._runs: dict[str, Any] = {}
        self._inputs = self._read(dict(inputs or {}))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_JOB": "job",
            "GITHUB_RUN_ID": "1",
            "GITHUB_TOKEN": "of-the-job",
            "GITHUB_WORKSPACE": str(folder),
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(folder),
            "RUNNER_TRACKING_ID": f"github_{uuid.uuid4()}",
        }
        self.masks: list[str] = []
        self.steps: list[Step] = []

    def _read(self, given: dict[str, str]) -> dict[str, str]:
        metadata = yaml.safe_load((self._action / "action.yml").read_text())
        self._runs = metadata["runs"]
        inputs = {
            f"INPUT_{name.replace(' ', '_').upper()}": given.pop(
                name, str(one.get("default", ""))
            )
            for name, one in metadata.get("inputs", {}).items()
        }
        assert not given, f"unexpected inputs {given}"
        return inputs

    @property
    def failed(self) -> bool:
        """Whether the job has failed."""
        return any(step.status for step in self.steps)

    def run(self, *lines: str) -> "Job":
        """Run the action's main, a step for each of `lines`, and the action's post."""
        begun = self.main()
        for number, line in enumerate(lines):
            if not self.failed:
                self.step(line, f"step{number}")
        self.post(begun.state)
        return self

    def main(self) -> Step:
        """Run the action's main alone."""
        return self._step("main", self._node("main"), self._inputs)

    def step(self, line: str, name: str = "step") -> Step:
        """Run a step of shell, as `run:` of a job does."""
        return self._step(name, ["bash", "-e", "-o", "pipefail", "-c", line], {})

    def post(self, state: Mapping[str, str]) -> Step:
        """Run the action's post, with the state that its main left."""
        assert self._runs.get("post-if", "always()") == "always()"
        named = {f"STATE_{name}": value for name, value in state.items()}
        return self._step("post", self._node("post"), self._inputs | named)

    def _node(self, which: str) -> list[str]:
        return ["node", str(self._action / self._runs[which])]

    def _step(self, name: str, words: Sequence[str], more: Mapping[str, str]) -> Step:
        files = {one: self._folder / f"{one.lower()}_{uuid.uuid4()}" for one in _FILES}
        for path in files.values():
            path.touch()
        named = {one: str(path) for one, path in files.items()}
        done = subprocess.run(
            words,
            check=False,
            env=self._environment | dict(more) | named,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE_S,
        )
        log = done.stdout.decode("utf-8", "replace")
        commands = self._carry_out(log)
        status = done.returncode
        try:
            outputs, state = (
                entries(files[one].read_text())
                for one in ("GITHUB_OUTPUT", "GITHUB_STATE")
            )
            self._environment |= entries(files["GITHUB_ENV"].read_text())
        except (FileError, OSError) as error:
            outputs, state, status = {}, {}, status or 1
            log += f"{error}\n"
        for line in files["GITHUB_PATH"].read_text().splitlines():
            self._environment["PATH"] = f"{line}:{self._environment['PATH']}"
        summary = files["GITHUB_STEP_SUMMARY"].read_text()
        step = Step(name, status, self._hidden(log), commands, outputs, state, summary)
        self.steps.append(step)
        return step

    # The runner carries commands out line by line, and masks from there on.
    def _carry_out(self, log: str) -> list[Command]:
        found: list[Command] = []
        for line in log.splitlines():
            command = _parsed(line)
            if command is None:
                continue
            if command.name == "add-mask":
                self.masks += [command.text, *command.text.splitlines()]
            else:
                found.append(command)
        return found

    def _hidden(self, log: str) -> str:
        shown = [line for line in log.splitlines() if "::add-mask::" not in line]
        text = "\n".join(shown)
        for mask in filter(None, self.masks):
            text = text.replace(mask, "***")
        return text


def _parsed(line: str) -> Command | None:
    if found := _COMMAND.match(line):
        text = found[3]
        for escape, one in _ESCAPES:
            text = text.replace(escape, one)
        return Command(found[1].lower(), found[2] or "", text)
    if found := _OLD_COMMAND.search(line):
        return Command(found[1].lower(), "", found[2])
    return None


def entries(text: str) -> dict[str, str]:
    """Return the entries of an environment file. Raises `FileError`."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        equals, mark = line.find("="), line.find("<<")
        if mark >= 0 and (equals < 0 or mark < equals):
            name, end = line[:mark], line[mark + 2 :]
            value: list[str] = []
            for inner in lines:
                if inner == end:
                    break
                value.append(inner)
            else:
                raise FileError(f"Matching delimiter not found '{end}'")
            found[name] = "\n".join(value)
        elif equals > 0:
            found[line[:equals]] = line[equals + 1 :]
        else:
            raise FileError(f"Invalid format '{line}'")
    return found
