"""What stands around the processes of a run: their folders and their environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from egressmon.errors import UsageError
from egressmon.proofs.plans.plan import PhasePlan, Plan
from egressmon.proofs.written.known import KnownSecrets
from egressmon.values import dataclass, field

_IN_NO_HEADER = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands for the placeholders in a plan, and what its processes inherit."""

    folder: Path
    """The plan's."""
    scratch: str
    """A folder that only this run has."""
    run: int
    environment: Mapping[str, str]
    known: KnownSecrets = field(default_factory=KnownSecrets)

    def filled(self, text: str) -> str:
        """Return `text` with what its placeholders stand for."""
        for name, value in (
            ("{plan}", str(self.folder)),
            ("{tmp}", self.scratch),
            ("{run}", str(self.run)),
        ):
            text = text.replace(name, value)
        return text

    def environment_with(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process that has `own` variables, too."""
        filled = {name: self.filled(value) for name, value in own.items()}
        return {**self.environment, "TMPDIR": self.scratch, **filled}

    def place(self, path: str) -> str:
        """Return a path of the plan, from its folder."""
        return os.path.join(self.folder, self.filled(path))  # noqa: PTH118 -- of text


def headers_of(phase: PhasePlan, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a phase's request; raises UsageError if one is not set."""
    found: dict[str, str] = {}
    for name, header in phase.request.headers.items() if phase.request else ():
        value = header.value
        if header.env is not None:
            value = _of_environment(phase.name, name, header.env, environment)
        found[name] = value or ""
    return found


# What is around the value of a field is no part of it (RFC 9110): a variable that was
# read from a file often ends in a newline. A message never has the value.
def _of_environment(
    phase: str, name: str, variable: str, environment: Mapping[str, str]
) -> str:
    value = environment.get(variable)
    about = f"phase {phase}: the header {name} is to be in the variable {variable}"
    if value is None:
        raise UsageError(
            f"{about}, which is not set", f"set it: {variable}=... egressmon prove ..."
        )
    value = value.strip(" \t\r\n")
    if (wrong := _IN_NO_HEADER.search(value)) is not None:
        raise UsageError(
            f"{about}, whose character {wrong.start() + 1} (U+{ord(wrong[0]):04X}) "
            "cannot be sent",
            "set it to one line of Latin-1",
        )
    return value


def require_sendable(plan: Plan, environment: Mapping[str, str]) -> None:
    """Raise UsageError if a header's variable is set to what cannot be sent."""
    for phase in plan.phase:
        for name, header in phase.request.headers.items() if phase.request else ():
            if header.env is not None and header.env in environment:
                _of_environment(phase.name, name, header.env, environment)


def known_secrets(plan: Plan, environment: Mapping[str, str]) -> KnownSecrets:
    """Return what the plan's headers have from `environment`; raises UsageError."""
    values: list[str] = []
    for phase in plan.phase:
        sent = headers_of(phase, environment)
        taken = phase.request.headers.items() if phase.request else ()
        values += [sent[name] for name, header in taken if header.env is not None]
    return KnownSecrets(values)
