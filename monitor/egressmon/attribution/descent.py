"""What a process has by descent: what it belongs to, and a CI job's step.

Both begin at a process that is known for what it is, and pass to all that it starts.
Nothing here rests on what a process says of itself, but for the step, a claim.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal

from egressmon.attribution.existing import Existing
from egressmon.evidence.records.actors import Step
from egressmon.evidence.records.traffic import Origin
from egressmon.values import dataclass, replace

WORKERS = frozenset({"Runner.Worker", "gitlab-runner", "buildkite-agent"})
"""The programs of CI systems whose children are jobs. Jenkins's is any `java`."""
ENGINES = frozenset(
    {
        "dockerd",
        "docker-proxy",
        "docker-init",
        "containerd",
        "containerd-shim",
        "containerd-shim-runc-v1",
        "containerd-shim-runc-v2",
        "buildkitd",
        "podman",
        "conmon",
        "netavark",
        "aardvark-dns",
        "pasta",
        "pasta.avx2",
        "passt",
        "slirp4netns",
        "rootlesskit",
        "rootlessport",
        "crio",
        "k3s",
        "kubelet",
    }
)
"""The programs of container engines, and of their helpers."""
_MAX_ANCESTORS = 64
_KINDS = {"runner": "children of", "session": "session of", "process": "process"}
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Descent:
    """What a process belongs to by its descent."""

    origin: Origin | None
    """None: not known. A process in a container still has that of its parent here."""
    step: Step | None = None
    begins_jobs: bool = False
    """Whether its children are the job, and itself is not."""


@dataclass(frozen=True, slots=True)
class JobRoot:
    """The process at the root of the job of whoever started a sidecar."""

    pid: int
    ticks: int
    """When it began, as `Existing` has it."""
    comm: str
    kind: Literal["runner", "session", "process"]
    """Its children are the job; or it leads a session, or is a process, that is."""

    @property
    def is_runner(self) -> bool:
        """Whether it is a CI system's, and no part of the job."""
        return self.kind == "runner"

    def __str__(self) -> str:
        """Return it as the evidence has it."""
        return f"{_KINDS[self.kind]} {self.comm} ({self.pid})"


UNKNOWN = Descent(None)
OF_COMMAND = Descent("job")
"""Of all that a command starts, which is watched."""
_MACHINE = Descent("machine")


def of_child(parent: Descent, exe: str | None) -> Descent:
    """Return what the child of a process has, which runs `exe`."""
    if parent.begins_jobs or (parent.origin != "job" and _name(exe) in WORKERS):
        return Descent("job", parent.step)
    return parent


def of_program(before: Descent, exe: str | None) -> Descent:
    """Return what a process has once it runs `exe`: an engine is one of the machine."""
    if before.origin == "machine" and exe is not None and is_engine(exe):
        return replace(before, origin="engine")
    return before


def with_step(before: Descent, step: Step | None) -> Descent:
    """Return what a process has whose environment tells of `step`.

    None within a step can say that it is another.
    """
    return (
        before
        if step is None or before.step is not None
        else replace(before, step=step)
    )


@lru_cache(maxsize=1024)
def is_engine(exe: str) -> bool:
    """Tell whether `exe` is an engine's program, which only root can replace."""
    if _name(exe) not in ENGINES or not exe.startswith("/"):
        return False
    place: str = exe
    while True:
        try:
            status = os.stat(place)  # noqa: PTH116 -- text in
        except (OSError, ValueError):
            return False
        if status.st_uid or status.st_mode & _OTHERS_WRITE:
            return False
        if place == "/":
            return True
        place = place.rpartition("/")[0] or "/"


def of_existing(found: Iterable[Existing], job: JobRoot | None) -> dict[int, Descent]:
    """Return what each of the processes `found` has, by pid; `job` is the caller's."""
    known = {one.pid: one for one in found}
    steps = dict(_steps(known)) if known else {}
    return {pid: _descent(one, known, job, steps) for pid, one in known.items()}


def _steps(known: Mapping[int, Existing]) -> Iterator[tuple[int, Step]]:
    from egressmon.attribution.steps import (  # noqa: PLC0415 -- only a sidecar's
        starts_steps,
        step_of,
    )

    for pid, one in known.items():
        parent = known.get(one.parent)
        if one.environment is None or parent is None or not starts_steps(parent.exe):
            continue
        is_cut = not one.environment.endswith(b"\0")
        if (step := step_of(one.environment, is_cut=is_cut)) is not None:
            yield pid, step


def _descent(
    one: Existing,
    known: Mapping[int, Existing],
    job: JobRoot | None,
    steps: Mapping[int, Step],
) -> Descent:
    above = _upwards(one, known)
    step = next((steps[up.pid] for up in reversed(above) if up.pid in steps), None)
    if _is_of_job(above, job):
        return Descent("job", step)
    is_engines = any(up.exe is not None and is_engine(up.exe) for up in above)
    is_root = job is not None and job.is_runner and _is(one, job)
    return Descent("engine" if is_engines else "machine", step, begins_jobs=is_root)


# Itself, and those above it.
def _upwards(one: Existing, known: Mapping[int, Existing]) -> list[Existing]:
    found = [one]
    while len(found) < _MAX_ANCESTORS:
        parent = known.get(found[-1].parent)
        if parent is None or parent in found:
            break
        found.append(parent)
    return found


def _is_of_job(above: list[Existing], job: JobRoot | None) -> bool:
    if any(_name(up.exe) in WORKERS for up in above[1:]):
        return True
    if job is None:
        return False
    if job.kind == "session" and above[0].session == job.pid:
        return True
    roots = above[1:] if job.is_runner else above
    return any(_is(up, job) for up in roots)


def _is(one: Existing, job: JobRoot) -> bool:
    return (one.pid, one.ticks) == (job.pid, job.ticks)


def _name(exe: str | None) -> str:
    return (exe or "").rpartition("/")[2]
