"""Say what this machine can observe, what is missing, and what gets it."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from egressmon import host
from egressmon.errors import EgressmonError
from egressmon.probes import libbpf
from egressmon.probes.engine import LibbpfEngine, load_object
from egressmon.probes.errors import ProbeError
from egressmon.scope import find_root
from egressmon.text import printable

# include/uapi/linux/capability.h
_NEEDED_CAPABILITIES = {
    12: "CAP_NET_ADMIN",
    38: "CAP_PERFMON",
    39: "CAP_BPF",
}
_CAP_SYS_ADMIN = 21


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
    path = Path("/sys/kernel/btf/vmlinux")
    return Check(
        "BTF",
        path.exists(),
        str(path) if path.exists() else f"{path} is missing",
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (every distribution's "
        "since 2021)",
    )


def _cgroup() -> Check:
    try:
        root = find_root()
    except EgressmonError as error:
        return Check("cgroup v2", False, str(error), error.hint)
    return Check("cgroup v2", True, f"mounted at {root}")


def _capabilities() -> Check:
    status = Path("/proc/self/status").read_text()
    line = next(one for one in status.splitlines() if one.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    missing = [
        name
        for number, name in _NEEDED_CAPABILITIES.items()
        if not (held >> number & 1 or held >> _CAP_SYS_ADMIN & 1)
    ]
    says = f"missing {', '.join(missing)}" if missing else "all that is needed"
    remedy = "sudo egressmon doctor (watch calls sudo by itself)"
    return Check("capabilities", not missing, says, remedy)


def _lockdown() -> Check:
    path = Path("/sys/kernel/security/lockdown")
    try:
        text = path.read_text().strip()
    except OSError:
        return Check("lockdown", True, "not in force")
    confidential = "[confidentiality]" in text
    return Check(
        "lockdown",
        not confidential,
        text,
        "boot without lockdown=confidentiality: it forbids probes to read memory",
    )


def _libbpf() -> Check:
    remedy = (
        "Debian 12, Ubuntu 24.04: apt install libbpf1; Ubuntu 22.04: apt install "
        "libbpf0"
    )
    try:
        return Check("libbpf", True, libbpf.version())
    except OSError:
        return Check("libbpf", False, "not installed", remedy)


def _object() -> Check:
    try:
        size = len(load_object())
    except ProbeError as error:
        return Check("probe object", False, str(error), error.hint)
    return Check("probe object", True, f"{size} bytes")


def _load() -> Check:
    if os.geteuid() != 0:
        return Check(
            "probes load", None, "not tried without root", "sudo egressmon doctor"
        )
    try:
        engine = LibbpfEngine()
        engine.load()
        engine.close()
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
