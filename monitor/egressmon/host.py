"""Facts about this machine."""

import os
import pwd
import socket
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

# The numbers of the first namespaces (include/linux/proc_ns.h).
_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h
_INFORMATION = ".dist-info"
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC
_INITIAL_CGROUP_NAMESPACE = 0xEFFFFFFB


@cache
def egressmon_version() -> str:
    """Return this program's version."""
    if found := _installed_version():
        return found
    # 12 ms, which would delay the start of every command.
    from importlib.metadata import version  # noqa: PLC0415

    return version("egressmon")


# What is installed says so in the name of a folder: egressmon-VERSION.dist-info
# (packaging.python.org, "Recording installed projects").
def _installed_version() -> str:
    for folder in sys.path:
        with suppress(OSError):
            for name in os.listdir(folder or "."):  # noqa: PTH208 -- the names alone
                project, _, rest = name.partition("-")
                if project.lower() == "egressmon" and rest.endswith(_INFORMATION):
                    return rest.removesuffix(_INFORMATION)
    return ""


def kernel() -> str:
    """Return the running kernel's release."""
    return os.uname().release


def proc_is_ours() -> bool:
    """Tell whether process ids in /proc are those that the probes report.

    They are unless egressmon runs in a pid namespace of its own.
    """
    return _namespace("pid") == _INITIAL_PID_NAMESPACE


def hierarchy_is_whole() -> bool:
    """Tell whether the whole cgroup hierarchy is visible (no cgroup namespace)."""
    return _namespace("cgroup") == _INITIAL_CGROUP_NAMESPACE


def own_network() -> int | None:
    """Return the kernel's cookie of our network namespace; None before Linux 5.14."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as ours:
        return int.from_bytes(
            ours.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder
        )
    return None


def own_mounts() -> int | None:
    """Return the number of our mount namespace."""
    return _namespace("mnt")


def _namespace(kind: str) -> int | None:
    try:
        return Path(f"/proc/self/ns/{kind}").stat().st_ino
    except OSError:
        return None


def home_of(uid: int) -> str | None:
    """Return the home folder of the user `uid`, or None if no account has that id."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None


def process_start_s() -> float:
    """Return when this process began, in seconds since boot, accurate to 10 ms."""
    # Field 22 of proc_pid_stat(5), in clock ticks since boot.
    stat = Path("/proc/self/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def age_ms(began_s: float) -> int:
    """Return how many milliseconds have passed since `began_s` (seconds since boot)."""
    return max(0, round((time.clock_gettime(time.CLOCK_BOOTTIME) - began_s) * 1000))


def is_there(pid: int) -> bool:
    """Tell whether any process has `pid`, by asking for the right to signal it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
