"""Whether an environment is guarded, and by which policy."""

import hashlib
from typing import Any

from egressmon.errors import UsageError
from egressmon.guard.environment import Environment, settings_in, why_no_ledger
from egressmon.guard.judging import rules_of
from egressmon.guard.source import read
from egressmon.values import dataclass

UNGUARDED = (
    "python -S, which reads no start-up line",
    "other environments, and programs that are not Python (told of: `unguarded child`)",
    "what calls the kernel past Python's sockets, in C: `egressmon watch` sees it",
)
"""What is not guarded in any environment."""


@dataclass(frozen=True, slots=True)
class Posture:
    """What `egressmon guard status` says."""

    environment: str
    is_enabled: bool
    policy: str | None = None
    digest: str | None = None
    """`sha256:` and the digest of the policy file as it is now."""
    ledger: str | None = None
    problem: str | None = None
    """Why it refuses every destination, or why that is not known."""

    @property
    def is_fine(self) -> bool:
        """Whether each Python of the environment is guarded by the policy."""
        return self.is_enabled and self.problem is None

    def as_json(self) -> dict[str, Any]:
        """Return it as `--format json` prints it."""
        return {
            "environment": self.environment,
            "enabled": self.is_enabled,
            "policy": self.policy,
            "digest": self.digest,
            "ledger": self.ledger,
            "problem": self.problem,
            "unguarded": list(UNGUARDED),
        }


def posture_of(environment: Environment) -> Posture:
    """Return the posture of `environment`; nothing of it is run."""
    root = str(environment.root)
    try:
        settings = settings_in(environment)
    except UsageError as error:
        return Posture(root, is_enabled=True, problem=f"{error} ({error.hint})")
    if settings is None:
        return Posture(root, is_enabled=False)
    source = read(settings.policy, settings.digest)
    digest = None
    if source.problem is None:
        digest = f"sha256:{hashlib.sha256(source.data).hexdigest()}"
    return Posture(
        root,
        is_enabled=True,
        policy=settings.policy,
        digest=digest,
        ledger=settings.ledger,
        problem=rules_of(source).problem or why_no_ledger(settings.ledger),
    )
