"""Facts about this machine, and what cannot be seen on it."""

import ipaddress
import os
import platform
import time
from functools import cache
from pathlib import Path

from egressmon.decode import Address
from egressmon.records import BlindSpot

# The number of the first pid namespace (include/linux/proc_ns.h).
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

_ALWAYS = (
    BlindSpot(
        "packet-sockets",
        "AF_PACKET, AF_XDP and TUN devices bypass the socket layer (CAP_NET_RAW or "
        "CAP_NET_ADMIN needed)",
    ),
    BlindSpot(
        "unix-sockets",
        "a helper outside the scope, reached over AF_UNIX or AF_VSOCK (dockerd, nscd, "
        "systemd-resolved's varlink), can connect on the scope's behalf",
    ),
    BlindSpot(
        "encrypted-dns",
        "names resolved over TLS or HTTPS, or by a helper, are not seen: such a "
        "connection is unnamed",
    ),
    BlindSpot(
        "foreign-packets",
        "packets of a socket made outside the scope are not counted; its connects "
        "and unconnected sends are seen",
    ),
)


def egressmon_version() -> str:
    """Return this program's version."""
    # Slow to import (20 ms), and watch must be armed soon.
    from importlib.metadata import version  # noqa: PLC0415

    return version("egressmon")


def kernel() -> str:
    """Return the running kernel's release."""
    return platform.release()


def proc_is_ours() -> bool:
    """Tell whether /proc and the probes number processes alike (no pid namespace)."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return False


def blind_spots(*, root_hooks: bool) -> list[BlindSpot]:
    """Return what this run cannot see, with the reasons."""
    found = list(_ALWAYS)
    if not proc_is_ours():
        found.append(
            BlindSpot(
                "pid-namespace",
                "egressmon runs in a pid namespace: process ids are the kernel's, and "
                "executables are named as they were called",
            )
        )
    if not root_hooks:
        found.append(
            BlindSpot(
                "foreign-sockets",
                "the hierarchy's root cannot be used: sockets made outside the scope "
                "are not seen at all",
            )
        )
    return found


@cache
def own_addresses() -> frozenset[Address]:
    """Return the addresses of this machine, in the agent's network namespace."""
    import psutil  # noqa: PLC0415 -- 20 ms, not before the command starts

    return frozenset(
        ipaddress.ip_address(entry.address.partition("%")[0])
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family.name in {"AF_INET", "AF_INET6"}
    )


def process_age_ms() -> int:
    """Return how long ago this process began, in milliseconds (to 10 ms)."""
    # Field 22 of proc_pid_stat(5), in clock ticks since boot.
    stat = Path("/proc/self/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    began = ticks / os.sysconf("SC_CLK_TCK")
    return max(0, round((time.clock_gettime(time.CLOCK_BOOTTIME) - began) * 1000))
