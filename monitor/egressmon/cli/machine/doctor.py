"""`egressmon doctor`: what this machine can observe, what is missing, and the cure."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from egressmon import host
from egressmon.cli.machine.layers import Layer
from egressmon.errors import EgressmonError
from egressmon.evidence.records.running import BlindSpot
from egressmon.privileges.privilege import invoking_user
from egressmon.probes.architecture import machine
from egressmon.probes.errors import ProbeError
from egressmon.probes.kernel.sideband import SideBand
from egressmon.probes.loaders import libbpf, obstacles
from egressmon.probes.loaders.loading import Choice, load
from egressmon.probes.loaders.obstacles import Obstacle
from egressmon.sensor.blind_spots import ALWAYS, declared, of_command, perf_refusal
from egressmon.sensor.escalation import Escalation, SudoQuery, runs_as_root
from egressmon.sensor.scope import find_root
from egressmon.sensor.surroundings import look_around
from egressmon.text import printable
from egressmon.values import dataclass, replace

_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a run needs, and whether it is there."""

    what: str
    found: bool | None
    """None if it could not be determined, or is not needed."""
    says: str
    remedy: str = ""
    """What gets it."""


def examine() -> list[Check]:
    """Make all checks, and return them in the order in which they matter."""
    checks: list[Callable[[], Check]] = [
        _kernel,
        _btf,
        _cgroup,
        _namespace,
        _capabilities,
        _lockdown,
        _terminal,
        _libbpf,
        _object,
        _load,
        _load_by_bcc,
    ]
    found = [check() for check in checks]
    if found[checks.index(_load)].found:
        # The probes load, so libbpf has found BTF elsewhere: a missing file is no FAIL.
        place = checks.index(_btf)
        found[place] = replace(found[place], found=found[place].found or None)
    return found


def _kernel() -> Check:
    release = host.kernel()
    return Check("kernel", True, f"{release} on {machine()}")


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


# With TIOCSTI a command can type into the terminal what the shell reads after the run.
# The switch is there since Linux 6.2.
def _terminal() -> Check:
    try:
        refused = _TIOCSTI.read_text().strip() == "0"
    except OSError:
        refused = False
    if refused:
        return Check("terminal", True, "a command cannot type into it (TIOCSTI)")
    return Check(
        "terminal",
        None,
        "a command can type into yours what your shell carries out after it (TIOCSTI)",
        "sysctl dev.tty.legacy_tiocsti=0, or run the command without a terminal",
    )


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
    return _try("libbpf")


# bcc is needed only where libbpf cannot load the probes: its absence is no FAIL.
def _load_by_bcc() -> Check:
    check = _try("bcc")
    return check if check.found else replace(check, found=None)


def _try(engine: Choice) -> Check:
    what = f"probes load ({engine})"
    if os.geteuid() != 0:
        return Check(what, None, "not tried without root", "sudo egressmon doctor")
    try:
        loaded = load(engine)
    except ProbeError as error:
        return Check(what, False, str(error), error.hint)
    loaded.close()
    return Check(what, True, f"the kernel takes every program ({loaded.version})")


_MARKS = {True: "ok  ", False: "FAIL", None: "?   "}


def print_report(
    checks: list[Check],
    layers: list[Layer],
    policy: str | None,
    *,
    as_json: bool = False,
    stream: TextIO = sys.stdout,
) -> None:
    """Print `checks`, the `layers` of the `policy`, and each run's blind spots."""
    spots, told = _blind_spots()
    if as_json:
        found = _json(checks, layers, policy, spots)
        stream.write(json.dumps(found, indent=2) + "\n")
        return
    for check in checks:
        stream.write(f"{_MARKS[check.found]} {check.what}: {printable(check.says)}\n")
        if not check.found and check.remedy:
            stream.write(f"     -> {check.remedy}\n")
    by = printable(policy) if policy is not None else "no policy file"
    stream.write(f"\nlayers ({by}):\n")
    stream.writelines(_table(layers))
    stream.write(f"\nblind spots of every run here{told}:\n")
    for spot in spots:
        stream.write(f"  {spot.name}: {spot.reason}\n")
        stream.write(f"     so {spot.consequence}\n     -> {spot.remedy}\n")


# What nobody asked for is no FAIL.
def _table(layers: list[Layer]) -> Iterator[str]:
    for one in layers:
        mark = "FAIL" if one.is_missing else "ok  " if one.found else "-   "
        remedy = f" -> {printable(one.remedy)}" if not one.found else ""
        yield f"{mark} {one.name:8} {printable(one.says)}{remedy}\n"


def _json(
    checks: list[Check],
    layers: list[Layer],
    policy: str | None,
    spots: list[BlindSpot],
) -> dict[str, Any]:
    return {
        "policy": policy,
        "checks": [
            {
                "what": one.what,
                "found": one.found,
                "says": printable(one.says),
                "remedy": one.remedy or None,
            }
            for one in checks
        ],
        "layers": [one.as_json() for one in layers],
        "blind_spots": [one.name for one in spots],
    }


# The blind spots that come with the user's rights, as in a run that only reports.
def _of_command() -> list[BlindSpot]:
    user = invoking_user()
    can_sudo = SudoQuery(user).reason()
    return of_command(Escalation(runs_as_root(user), can_sudo, withheld_by=None))


# Why the kernel does not report what processes map; "" if it does.
def _without_mappings(cgroup: int) -> str:
    try:
        SideBand(cgroup).close()
    except OSError as error:
        return perf_refusal(error)
    return ""


# As root they are found out by attaching the probes. That is harmless: the hooks at the
# root of the cgroups only observe, and no process is in their lineage. The text says
# what the list lacks.
def _blind_spots() -> tuple[list[BlindSpot], str]:
    if os.geteuid() != 0:
        return [one.value for one in ALWAYS], ", as far as can be told without root"
    try:
        engine = load("auto", frames=True)
    except ProbeError:
        return [one.value for one in ALWAYS], " (nothing can be watched)"
    try:
        root_fd = os.open(find_root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            engine.attach_root(root_fd)
            no_mappings = _without_mappings(root_fd)
        finally:
            os.close(root_fd)
        surroundings = look_around(invoking_user().uid)
        spots = declared(engine, no_mappings, surroundings=surroundings, frames=True)
        return spots + _of_command(), ""
    except EgressmonError:
        return [one.value for one in ALWAYS], " (nothing can be watched)"
    finally:
        engine.close()
