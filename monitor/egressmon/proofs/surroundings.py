"""What stands around the processes of a run: their folders and their environment."""

import os
from collections.abc import Mapping
from pathlib import Path

from egressmon.errors import UsageError
from egressmon.proofs.plan import PhasePlan
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands for the placeholders in a plan, and what its processes inherit."""

    folder: Path
    """The plan's."""
    scratch: str
    """A folder that only this run has."""
    run: int
    environment: Mapping[str, str]

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
            value = environment.get(header.env)
            if value is None:
                raise UsageError(
                    f"phase {phase.name}: the header {name} is to be in the variable "
                    f"{header.env}, which is not set",
                    f"set it: {header.env}=... egressmon prove ...",
                )
        found[name] = value or ""
    return found
