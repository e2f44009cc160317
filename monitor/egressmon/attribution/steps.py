"""Which step of a CI job a process is the first of, by its environment: a claim.

Of the environment, only the variables in `_SYSTEMS` are kept, each bounded and masked.
"""

from collections.abc import Mapping
from typing import NamedTuple

from egressmon.evidence.masking import shown
from egressmon.evidence.records.actors import Step, StepSystem
from egressmon.text import from_bytes

STARTERS = frozenset(
    {
        "Runner.Worker",
        "gitlab-runner",
        "buildkite-agent",
        "java",
        "containerd-shim",
        "conmon",
        "runc",
        "crun",
    }
)
"""The names (comm) of what starts steps, as the probes compare them (step.bpf.h)."""
_MAX_VALUE = 256
_MAX_COMM = 15


class _System(NamedTuple):
    system: StepSystem
    needed: bytes
    """The variable that tells it from others."""
    name: tuple[bytes, ...]
    """The variables that say which step it is, the best first."""
    job: bytes
    others: tuple[bytes, ...]

    @property
    def kept(self) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys((self.needed, *self.name, self.job, *self.others)))


# GITHUB_ACTION is the step's id (`__run_2`, or what `id:` says), not its name.
_SYSTEMS = (
    _System(
        "github", b"GITHUB_ACTION", (b"GITHUB_ACTION",), b"GITHUB_JOB",
        (b"GITHUB_ACTION_REPOSITORY", b"GITHUB_RUN_ID", b"GITHUB_RUN_ATTEMPT",
         b"GITHUB_WORKFLOW", b"GITHUB_REPOSITORY", b"GITHUB_SHA", b"RUNNER_NAME",
         b"RUNNER_TRACKING_ID"),
    ),
    _System(
        "gitlab", b"CI_JOB_ID", (b"CI_JOB_NAME",), b"CI_JOB_ID",
        (b"CI_JOB_STAGE", b"CI_PIPELINE_ID", b"CI_PROJECT_PATH", b"CI_COMMIT_SHA"),
    ),
    _System(
        "buildkite", b"BUILDKITE_JOB_ID",
        (b"BUILDKITE_STEP_KEY", b"BUILDKITE_LABEL"), b"BUILDKITE_JOB_ID",
        (b"BUILDKITE_BUILD_NUMBER", b"BUILDKITE_PIPELINE_SLUG"),
    ),
    _System(
        "jenkins", b"BUILD_TAG", (b"STAGE_NAME",), b"BUILD_TAG",
        (b"JOB_NAME", b"BUILD_NUMBER", b"NODE_NAME"),
    ),
)  # fmt: skip
_KEPT = frozenset(name for one in _SYSTEMS for name in one.kept)


def starts_steps(exe: str | None) -> bool:
    """Tell whether the program `exe` is one of those that start steps."""
    return (exe or "").rpartition("/")[2][:_MAX_COMM] in STARTERS


def step_of(environment: bytes, *, is_cut: bool = False) -> Step | None:
    """Return the step that `environment`, as execve(2) was given it, tells of.

    None: of none. `is_cut`: its last variable may be missing, or only begin there.
    """
    variables = _variables(environment, is_cut=is_cut)
    for system in _SYSTEMS:
        if system.needed in variables:
            return _step(system, variables)
    return None


# Of a variable that is there twice, programs see the first one, as getenv(3) does.
def _variables(environment: bytes, *, is_cut: bool) -> dict[bytes, bytes]:
    parts = environment.split(b"\0")
    if is_cut:
        parts.pop()
    found: dict[bytes, bytes] = {}
    for part in parts:
        name, mark, value = part.partition(b"=")
        if mark and name in _KEPT:
            found.setdefault(name, value)
    return found


def _step(system: _System, variables: Mapping[bytes, bytes]) -> Step:
    kept = {name: _text(variables[name]) for name in system.kept if name in variables}
    names = (kept[name] for name in system.name if kept.get(name))
    return Step(
        system=system.system,
        name=next(names, None),
        job=kept.get(system.job),
        variables={name.decode(): value for name, value in kept.items()},
    )


def _text(value: bytes) -> str:
    text = shown(from_bytes(value[: 4 * _MAX_VALUE]))
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"
