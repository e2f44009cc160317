"""Say what this machine can observe, what is missing, and what gets it."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from egressmon import host
from egressmon.errors import EgressmonError
from egressmon.probes import libbpf, obstacles
from egressmon.probes.errors import ProbeError
from egressmon.probes.loading import load
from egressmon.probes.obstacles import Obstacle
from egressmon.scope import find_root
from egressmon.text import printable


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: found is None where it could not be determined."""

    what: str
    found: bool | None
    says: str
    remedy: str = ""


def examine() -> list[Check]:
    """Return every check, in the order in which they matter."""
    checks: list[Callable[[], Check]] = [
        _kernel,
        _btf,
        _cgroup,
        _namespace,
        _capabilities,
        _lockdown,
        _libbpf,
        _object,
        _load,
    ]
    return [check() for check in checks]


def _kernel() -> Check:
    release = host.kernel()
    return Check("kernel", True, f"{release} on {os.uname().machine}")


def _btf() -> Check:
    obstacle = obstacles.without_btf()
    return _obstacle("BTF", obstacle, str(obstacles.BTF))


def _obstacle(what: str, obstacle: Obstacle | None, says: str) -> Check:
    if obstacle is None:
        return Check(what, True, says)
    return Check(what, False, obstacle.what, obstacle.remedy)


def _cgroup() -> Check:
    try:
        root = find_root()
    except EgressmonError as error:
        return Check("cgroup v2", False, str(error), error.hint)
    return Check("cgroup v2", True, f"mounted at {root}")


def _namespace() -> Check:
    return _obstacle(
        "user namespace", obstacles.in_user_namespace(), "the machine's own"
    )


def _capabilities() -> Check:
    return _obstacle(
        "capabilities", obstacles.lacking_capabilities(), "all that is needed"
    )


def _lockdown() -> Check:
    return _obstacle("lockdown", obstacles.locked_down(), obstacles.lockdown())


def _libbpf() -> Check:
    try:
        return Check("libbpf", True, libbpf.version())
    except ProbeError as error:
        return Check("libbpf", False, str(error), error.hint)


def _object() -> Check:
    try:
        size = len(libbpf.load_object())
    except ProbeError as error:
        return Check("probe object", False, str(error), error.hint)
    return Check("probe object", True, f"{size} bytes")


def _load() -> Check:
    if os.geteuid() != 0:
        return Check(
            "probes load", None, "not tried without root", "sudo egressmon doctor"
        )
    try:
        load("libbpf").close()
    except ProbeError as error:
        return Check("probes load", False, str(error), error.hint)
    return Check("probes load", True, "the kernel takes every program")


def print_report(checks: list[Check], stream: TextIO = sys.stdout) -> None:
    """Print checks and the blind spots of this machine."""
    marks = {True: "ok  ", False: "FAIL", None: "?   "}
    for check in checks:
        stream.write(f"{marks[check.found]} {check.what}: {printable(check.says)}\n")
        if not check.found and check.remedy:
            stream.write(f"     -> {check.remedy}\n")
    stream.write("\nblind spots of every run here:\n")
    stream.writelines(
        f"  {spot.name}: {spot.reason}\n" for spot in host.blind_spots(root_hooks=True)
    )
