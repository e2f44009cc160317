"""Find out why this machine refuses the probes: each cause with its remedy."""

from pathlib import Path

from egressmon.probes.errors import MachineError, ProbeError
from egressmon.values import dataclass

BTF = Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
# include/uapi/linux/capability.h
_CAP_SYS_ADMIN = 21
_NEEDED = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why probes cannot be loaded, and what to do about it."""

    what: str
    remedy: str


def without_btf() -> Obstacle | None:
    """Return the obstacle that the kernel has no BTF, or None if it has."""
    if BTF.exists():
        return None
    return Obstacle(
        f"the kernel has no BTF ({BTF} is missing)",
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (every distribution's "
        "since 2021), and mount /sys",
    )


def locked_down() -> Obstacle | None:
    """Return the obstacle that lockdown forbids reading kernel memory, or None."""
    if "[confidentiality]" not in lockdown():
        return None
    return Obstacle(
        "the kernel is locked down (confidentiality): probes may not read memory",
        "boot with lockdown=integrity or without lockdown= "
        "(see kernel_lockdown(7)); Secure Boot alone does not set confidentiality",
    )


def lockdown() -> str:
    """Return the kernel's lockdown levels, with the active one in brackets."""
    try:
        return _LOCKDOWN.read_text().strip()
    except OSError:
        return "not in force"


def in_user_namespace() -> Obstacle | None:
    """Return the obstacle that this is a user namespace, or None if it is the first."""
    # The first user namespace maps all uids: "0 0 4294967295" (user_namespaces(7)).
    try:
        mapped = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return None
    if mapped == ["0", "0", "4294967295"]:
        return None
    return Obstacle(
        "egressmon runs in a user namespace (a rootless container?): its root may "
        "not load probes",
        "run egressmon on the host, or in a privileged container "
        "(docker run --privileged) of a root daemon",
    )


def lacking_capabilities() -> Obstacle | None:
    """Return the obstacle that this process lacks capabilities, or None."""
    status = Path("/proc/self/status").read_text()
    line = next(one for one in status.splitlines() if one.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    missing = [
        name
        for number, name in _NEEDED.items()
        if not (held >> number & 1 or held >> _CAP_SYS_ADMIN & 1)
    ]
    if not missing:
        return None
    return Obstacle(
        f"missing capabilities: {', '.join(missing)}",
        "sudo egressmon ... (watch calls sudo by itself); in a container: "
        "--cap-add for each, or --privileged",
    )


def found() -> list[Obstacle]:
    """Return all obstacles of this machine and process, the most specific first."""
    # Namespaces first: root in a user namespace seems to have all capabilities.
    checks = (in_user_namespace, lacking_capabilities, locked_down, without_btf)
    return [obstacle for check in checks if (obstacle := check()) is not None]


def refusal(why: str, log: str) -> ProbeError:
    """Return the error to raise after the kernel refused the probes.

    `why` is used if no obstacle is found; `log` is the verifier's or loader's.
    """
    for obstacle in found():
        return MachineError(obstacle.what, obstacle.remedy, log)
    return ProbeError(
        f"the kernel did not take the probes ({why})",
        "run `egressmon doctor`; `--verbose` shows the kernel's log",
        log,
    )
