"""The caller's resource limits: the command gets them; egressmon's own are wider.

egressmon keeps about a hundred files open, and writes evidence: a limit that the caller
set for the command must not stop it. Where it may not go beyond a limit (that takes
CAP_SYS_RESOURCE) and that is too low, the limit is named.

sudo and its PAM modules change limits. So where egressmon itself calls sudo, it notes
all of them before (`note`). Of `sudo egressmon`, the command gets sudo's.
"""

import errno
import resource
from contextlib import suppress

from egressmon.startup import environment

NOTE = "_EGRESSMON_LIMITS"
"""A note of the caller's limits, set as we call sudo: `NUMBER:SOFT:HARD`, by commas.

Who can set it in our environment could as well have sudo run anything else."""
_LIMITS = range(16)  # RLIM_NLIMITS
_NONE = resource.RLIM_INFINITY
_WIDENED = {
    resource.RLIMIT_AS: _NONE,
    resource.RLIMIT_CPU: _NONE,
    resource.RLIMIT_DATA: _NONE,
    resource.RLIMIT_FSIZE: _NONE,
    resource.RLIMIT_NOFILE: 1024,
    resource.RLIMIT_NPROC: _NONE,
}
_callers: dict[int, tuple[int, int]] = {}


def widen() -> None:
    """Widen this process's limits as far as it may, and note what they were."""
    for which, most in _WIDENED.items():
        soft, hard = resource.getrlimit(which)
        _callers[which] = soft, hard
        if _covers(soft, most):
            continue
        above = hard if _covers(hard, most) else most
        try:
            resource.setrlimit(which, (most, above))
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                resource.setrlimit(which, (hard, hard))
    _callers.update(_noted())


def note() -> str:
    """Return the words for env(1) that tell of this process's limits."""
    found = ((which, *resource.getrlimit(which)) for which in _LIMITS)
    return f"{NOTE}=" + ",".join(f"{one}:{soft}:{hard}" for one, soft, hard in found)


def _noted() -> dict[int, tuple[int, int]]:
    variables = environment.own_variables()
    if environment.HOP.encode() not in variables:
        return {}
    found: dict[int, tuple[int, int]] = {}
    with suppress(ValueError):
        for one in variables.get(NOTE.encode(), b"").split(b","):
            which, soft, hard = map(int, one.split(b":"))
            if which in _LIMITS:
                found[which] = soft, hard
    return found


def _covers(limit: int, wanted: int) -> bool:
    return limit == _NONE or (wanted != _NONE and limit >= wanted)


def restore() -> None:
    """Set the limits that the caller had, in the command's process."""
    for which, (soft, hard) in _callers.items():
        try:
            resource.setrlimit(which, (soft, hard))
        except (OSError, ValueError):  # above ours, as sudo set it
            _, most = resource.getrlimit(which)
            lower = most if _covers(soft, most) else soft
            with suppress(OSError, ValueError):
                resource.setrlimit(which, (lower, most))


def explained(error: BaseException) -> tuple[str, str] | None:
    """Return what is wrong and what to do, if `error` comes from a limit; else None."""
    code = getattr(error, "errno", None)
    if code == errno.EMFILE:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"egressmon may have {soft} files open, and needs more",
            "raise the limit: ulimit -n 256",
        )
    if code == errno.ENFILE:
        return "the machine can open no more files", "raise the sysctl fs.file-max"
    if code == errno.EAGAIN or "start new thread" in str(error):
        return (
            "egressmon may start no more processes or threads",
            "raise the limit: ulimit -u, or pids.max of the cgroup",
        )
    if code == errno.ENOMEM or isinstance(error, MemoryError):
        return (
            "there is not enough memory",
            "raise the limit: ulimit -v, or memory.max of the cgroup",
        )
    return None
