"""The caller's resource limits: the command gets them; egressmon's own are wider.

egressmon keeps about a hundred files open, and writes evidence: a limit that the caller
set for the command must not stop it. Where it may not go beyond a limit (that takes
CAP_SYS_RESOURCE) and that is too low, the limit is named.
"""

import errno
import resource
from contextlib import suppress

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


def _covers(limit: int, wanted: int) -> bool:
    return limit == _NONE or (wanted != _NONE and limit >= wanted)


def restore() -> None:
    """Set the limits that the caller had, in the command's process."""
    for which, values in _callers.items():
        resource.setrlimit(which, values)


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
