"""The layers that one policy is enforced at, and which of them are in place here."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egressmon.errors import EgressmonError
from egressmon.filters import nft
from egressmon.guard.environment import Environment, environment_at
from egressmon.guard.posture import posture_of
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.reading.file import find_policy, load_policy
from egressmon.values import dataclass

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: whether it is in place, and what to do where it is not."""

    name: str
    found: bool | None
    """None: that could not be found out."""
    says: str
    remedy: str = ""
    is_required: bool = False
    """Whether the policy asks for it (`layers.require`)."""

    @property
    def is_missing(self) -> bool:
        """Whether the policy asks for it and it is not known to be there."""
        return self.is_required and not self.found

    def as_json(self) -> dict[str, Any]:
        """Return it as `--format json` prints it."""
        return {
            "layer": self.name,
            "found": self.found,
            "says": self.says,
            "remedy": self.remedy or None,
            "required": self.is_required,
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """By which policy, and for which environment, the layers are looked at."""

    policy: "AnyPolicy" = DEFAULT
    path: str | None = None
    digest: str | None = None
    """`sha256:` and the policy file's digest; None: there is no policy."""
    environment: str | None = None
    """The folder of the virtual environment; None: that of this command."""


def asked_of(policy: str | None, environment: str | None) -> Asked:
    """Return what to look at: the file `policy`, or the one that `watch` would take.

    Raises PolicyError for a file that cannot be used.
    """
    file = Path(policy) if policy is not None else find_policy(Path.cwd())
    if file is None:
        return Asked(environment=environment)
    loaded = load_policy(file)
    return Asked(loaded.policy, str(loaded.path), loaded.digest, environment)


def layers_of(asked: Asked, monitor: Iterable[bool | None]) -> list[Layer]:
    """Return each layer as it is here.

    `monitor` is what was found of all that the kernel's monitor needs.
    """
    required = frozenset(asked.policy.layers.require)
    found = [_guard(asked), _filter(asked), _monitor(tuple(monitor)), _drift(asked)]
    return [
        Layer(one.name, one.found, one.says, one.remedy, one.name in required)
        for one in found
    ]


def _guard(asked: Asked) -> Layer:
    try:
        environment = environment_at(asked.environment)
    except EgressmonError as error:
        return Layer("guard", None, str(error), "egressmon doctor --environment DIR")
    return _guard_of(environment, asked)


def _guard_of(environment: Environment, asked: Asked) -> Layer:
    found = posture_of(environment)
    enable = f"egressmon guard enable --environment {environment.root}"
    if asked.path is not None:
        enable += f" --policy {asked.path}"
    if not found.is_enabled:
        return Layer("guard", False, f"not enabled in {found.environment}", enable)
    if found.problem is not None:
        return Layer("guard", False, f"refuses everything: {found.problem}", enable)
    if asked.digest is not None and found.digest != asked.digest:
        return Layer("guard", False, f"by another policy: {found.policy}", enable)
    return Layer("guard", True, f"enabled in {found.environment}, by {found.policy}")


def _filter(asked: Asked) -> Layer:
    apply = "egressmon policy nftables --apply"
    apply += f" {asked.path}" if asked.path is not None else " FILE"
    if os.geteuid() != 0:
        return Layer(
            "filter", None, "not looked at without root", "sudo egressmon doctor"
        )
    try:
        table = nft.loaded()
    except EgressmonError as error:
        return Layer("filter", None, str(error), error.hint)
    if table is None:
        return Layer("filter", False, "no table of egressmon's is loaded", apply)
    if asked.digest is not None and asked.digest not in table.mark.split():
        return Layer("filter", False, "rendered from another policy", apply)
    count = sum(map(len, table.remaining.values()))
    return Layer("filter", True, f"loaded, with {count} addresses of names")


def _monitor(checks: tuple[bool | None, ...]) -> Layer:
    if False in checks:
        return Layer("monitor", False, "cannot watch here: see FAIL", "as said there")
    if os.geteuid() != 0:
        return Layer("monitor", None, "not tried without root", "sudo egressmon doctor")
    return Layer("monitor", True, "sees every connection, and refuses none")


def _drift(asked: Asked) -> Layer:
    from egressmon.drift.freshness import freshness_of  # noqa: PLC0415 -- slow

    folder = Path(asked.path).parent if asked.path is not None else Path()
    today = datetime.now(UTC).date()
    return Layer("drift", *freshness_of(asked.policy.drift, folder, today))
