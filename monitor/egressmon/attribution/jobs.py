"""The job of whoever starts a sidecar: by climbing to a CI system's agent."""

from collections.abc import Callable

from egressmon.attribution.descent import WORKERS, JobRoot
from egressmon.attribution.existing import Existing, look

_JENKINS = "java"
_BECOMING = frozenset({"sudo", "su", "doas", "runuser", "pkexec"})
"""What starts a program as somebody else, often in a session of its own."""
_MAX_ANCESTORS = 64


def find_job(
    pid: int, look_at: Callable[[int], Existing | None] = look
) -> JobRoot | None:
    """Return the root of the job that the process `pid` is of.

    That is the nearest CI system's agent above it; or else the leader of the session of
    whoever called. None: neither is there, as of what systemd starts.
    """
    above = _upwards(pid, look_at)
    for one in above:
        name = _name(one)
        if name in WORKERS or (name == _JENKINS and one.comm == _JENKINS):
            return JobRoot(one.pid, one.ticks, one.comm, kind="runner")
    caller = _caller(above)
    if caller is None or not caller.session:
        return None
    leader = look_at(caller.session)
    if leader is None:  # it has ended, and the session has not
        return JobRoot(caller.session, 0, caller.comm, kind="session")
    return JobRoot(leader.pid, leader.ticks, leader.comm, kind="session")


# From itself upwards, but for the machine's first process.
def _upwards(pid: int, look_at: Callable[[int], Existing | None]) -> list[Existing]:
    found: list[Existing] = []
    while pid > 1 and len(found) < _MAX_ANCESTORS:
        one = look_at(pid)
        if one is None:
            break
        found.append(one)
        pid = one.parent
    return found


def _caller(above: list[Existing]) -> Existing | None:
    places = [at for at, one in enumerate(above) if _name(one) in _BECOMING]
    first = places[-1] + 1 if places else 0
    return above[first] if first < len(above) else next(iter(above), None)


def _name(one: Existing) -> str:
    return (one.exe or "").rpartition("/")[2]
