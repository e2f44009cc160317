"""`egressmon drift`: what runs reach, compared with a reviewed baseline."""

import sys
from pathlib import Path

from egressmon.cli.drifting.baseline import tell_problems
from egressmon.cli.drifting.handshaking import Asking, shake_hands
from egressmon.drift.comparing import compare
from egressmon.drift.handshakes import known_names
from egressmon.drift.rendering import Form, write
from egressmon.drift.surface import surface_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.errors import UsageError
from egressmon.policy.reading.file import find_policy, load_policy
from egressmon.text import failure_of, unguarded
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class DriftRequest:
    """`egressmon drift`."""

    baseline: str
    evidence: list[str]
    policy: str | None
    """None: the one that `watch` would take."""
    form: Form
    asking: Asking | None = None
    """None: no host is asked."""


def drift(request: DriftRequest) -> int:
    """Print how the evidence differs from the baseline; return the exit status.

    0: not at all, or in nothing that counts; 1: it does; 2: they are not comparable.
    """
    file = Path(request.policy) if request.policy is not None else None
    loaded = load_policy(file or find_policy(Path.cwd()))
    baseline = read_baseline(request.baseline)
    surface = surface_of(request.evidence)
    shaken = None
    if request.asking is not None:
        known = {*known_names(baseline.content), *known_names(surface.plain())}
        shaken = shake_hands(loaded.policy, known, request.asking)
    settings = loaded.policy.drift
    found = compare(baseline, surface, settings, loaded.digest, shaken)
    write(found, request.form, sys.stdout, unguarded(sys.stdout))
    sys.stdout.flush()
    # A table is for people; what a program reads is whole, or known not to be.
    if request.form in {"json", "markdown"} and (failure := failure_of(sys.stdout)):
        text = f"standard output cannot be written: {failure.strerror}"
        raise UsageError(text, "see who reads it")
    tell_problems([*found.problems])
    return found.status
