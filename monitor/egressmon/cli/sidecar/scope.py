"""What a sidecar is asked to watch, of the processes of the machine."""

import os

from egressmon.attribution.descent import JobRoot, is_engine
from egressmon.attribution.existing import Existing, look
from egressmon.attribution.jobs import find_job
from egressmon.cli.requests import SidecarRequest
from egressmon.errors import UsageError
from egressmon.sensor.lineage_scope import Lineage
from egressmon.text import printable


def scope_words(request: SidecarRequest) -> list[str]:
    """Return the options that name what `request` has watched."""
    if request.cgroup is not None:
        return ["--cgroup", request.cgroup]
    if request.pid is not None:
        return ["--pid", str(request.pid)]
    if request.containers:
        return [
            word for one in request.containers for word in ("--container", str(one))
        ]
    return ["--job", request.job] if request.job is not None else ["--all"]


def lineage_of(request: SidecarRequest, job: JobRoot | None) -> Lineage | None:
    """Return the processes that `request` names; None: it names none.

    `job` is that of the caller. Raises UsageError if there is nothing of that kind.
    """
    if request.pid is not None:
        return _of_pid(request.pid)
    return _of_job(job) if request.job is not None else None


def require_process(pid: int) -> Existing:
    """Return the process `pid`; raises UsageError if it cannot be watched."""
    if pid <= 1:
        raise UsageError(
            f"--pid {pid}: all of the machine descends from process 1",
            "give --all to watch that, or a process of the job",
        )
    found = look(pid)
    if found is None:
        is_there = os.path.exists(f"/proc/{pid}")  # noqa: PTH110 -- text in
        what = "is a thread of the kernel's" if is_there else "is not there"
        raise UsageError(f"--pid {pid}: that process {what}", "name one that runs")
    if pid == os.getpid():
        raise UsageError(
            f"--pid {pid}: that is egressmon itself", "name what it is to watch"
        )
    return found


def job_of(request: SidecarRequest) -> JobRoot | None:
    """Return the root of the job that is watched: what `request` names is one."""
    if request.pid is not None:
        found = require_process(request.pid)
        return JobRoot(found.pid, found.ticks, found.comm, kind="process")
    return find_job(os.getppid())


def _of_pid(pid: int) -> Lineage:
    found = require_process(pid)
    what = f"process {pid} ({printable(found.comm)}), and what it starts"
    return Lineage(what, ((pid, found.ticks),))


def _of_job(job: JobRoot | None) -> Lineage:
    if job is None:
        raise UsageError(
            "--job auto: the caller belongs to no job: there is no CI system's agent "
            "above it, and it has no session",
            "give --all, or --pid with the process of the agent",
        )
    what = f"the job, {printable(str(job))}, and the container engines that run"
    session = job.pid if job.kind == "session" else 0
    return Lineage(what, ((job.pid, job.ticks),), tuple(_engines()), session)


def _engines() -> "list[tuple[int, int]]":
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 -- text
    each = (look(pid) for pid in pids)
    return [
        (one.pid, one.ticks)
        for one in each
        if one is not None and one.exe is not None and is_engine(one.exe)
    ]
