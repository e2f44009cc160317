"""`egressmon guard enable`, `disable` and `status`."""

import json
import sys
from pathlib import Path

from egressmon.errors import UsageError
from egressmon.guard.environment import (
    Environment,
    Settings,
    disable,
    enable,
    environment_at,
    require_guard,
    why_no_ledger,
)
from egressmon.guard.posture import UNGUARDED, Posture, posture_of
from egressmon.policy.errors import PolicyError
from egressmon.policy.reading.file import LoadedPolicy, find_policy, load_policy
from egressmon.text import printable, unguarded
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class EnableRequest:
    """What `guard enable` is asked for."""

    environment: str | None
    policy: str | None
    digest: str | None
    ledger: str | None


def turn_on(request: EnableRequest) -> int:
    """Write the start-up line, and return the exit status."""
    environment = environment_at(request.environment)
    require_guard(environment)
    policy = _policy(request)
    ledger = str(Path(request.ledger).absolute()) if request.ledger else None
    if why := why_no_ledger(ledger):
        raise UsageError(why, "what cannot be written down is refused: name a file")
    enable(environment, Settings(policy, request.digest, ledger))
    _print(f"{_shown(environment)}: guarded from now on by {printable(policy)}")
    return 0


# A policy that could not be used would refuse every destination: better said now.
def _policy(request: EnableRequest) -> str:
    if request.policy is not None:
        path = Path(request.policy).absolute()
        _remark(load_policy(path, request.digest))
        return str(path)
    found = find_policy(Path.cwd())
    if found is None:
        raise PolicyError(
            "no policy file was found here or above",
            "write egress.toml (docs/policy.md), or name one: --policy FILE",
        )
    _remark(load_policy(found, request.digest))
    return str(found.path.absolute())


# Who else could have written it, as `watch --policy` says it.
def _remark(loaded: LoadedPolicy) -> None:
    for remark in loaded.remarks:
        sys.stderr.write(f"egressmon: policy: {printable(remark, 1000)}\n")


def turn_off(folder: str | None) -> int:
    """Remove the start-up line, and return the exit status."""
    environment = environment_at(folder)
    was = "not guarded any more" if disable(environment) else "was not guarded"
    _print(f"{_shown(environment)}: {was}")
    return 0


def status(folder: str | None, form: str) -> int:
    """Print the posture of an environment, and return the exit status."""
    posture = posture_of(environment_at(folder))
    if form == "json":
        text = json.dumps(posture.as_json(), ensure_ascii=True)
        unguarded(sys.stdout).write(f"{text}\n")
    else:
        for line in _lines(posture):
            _print(line)
    return 0 if posture.is_fine else 1


def _lines(posture: Posture) -> list[str]:
    where = printable(posture.environment, 500)
    if not posture.is_enabled:
        return [f"{where}: not guarded", "  `egressmon guard enable` guards it"]
    lines = [f"{where}: guarded"]
    if posture.policy is not None:
        lines.append(f"  policy: {printable(posture.policy, 500)}")
    if posture.digest is not None:
        lines.append(f"  digest: {posture.digest}")
    if posture.ledger is not None:
        lines.append(f"  ledger: {printable(posture.ledger, 500)}")
    if posture.problem is not None:
        why = printable(posture.problem, 1000)
        lines.append(f"  every destination is refused: {why}")
    return [*lines, *(f"  not guarded: {one}" for one in UNGUARDED)]


def _shown(environment: Environment) -> str:
    return printable(environment.root, 500)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
