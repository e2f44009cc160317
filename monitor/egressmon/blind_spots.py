"""What cannot be seen: each one with its reason, what follows and what closes it."""

from dataclasses import replace
from enum import Enum

from egressmon import host
from egressmon.escalation import Escalation
from egressmon.probes.engine import Engine
from egressmon.records import BlindSpot


class Blind(Enum):
    """Every blind spot that there may be, on any kernel and with any engine."""

    PACKET_SOCKETS = BlindSpot(
        "packet-sockets",
        "AF_PACKET, AF_XDP and TUN devices bypass the socket layer",
        "a process with CAP_NET_RAW or CAP_NET_ADMIN can send unseen",
        "run the command without these capabilities",
    )
    UNIX_SOCKETS = BlindSpot(
        "unix-sockets",
        "requests over AF_UNIX and AF_VSOCK are not seen",
        "a helper outside the scope (dockerd, nscd, systemd-resolved) can connect on "
        "the scope's behalf",
        "keep such sockets out of the command's reach",
    )
    ENCRYPTED_DNS = BlindSpot(
        "encrypted-dns",
        "names resolved over TLS or HTTPS, or by a helper, are not seen",
        "a connection to such a name is unnamed, and judged by its address",
        "have the command use the system's resolver",
    )
    FOREIGN_PACKETS = BlindSpot(
        "foreign-packets",
        "packets of a socket made outside the scope are not counted; its connects "
        "and unconnected sends are seen",
        "more may be sent over an inherited, connected socket than is counted",
        "let the command inherit no sockets",
    )
    PID_NAMESPACE = BlindSpot(
        "pid-namespace",
        "egressmon runs in a pid namespace, and probes number processes as the "
        "kernel does",
        "process ids are not those of this namespace, executables are named as they "
        "were called, and the modules behind connections are not known",
        "run egressmon in the machine's own pid namespace (docker run --pid=host)",
    )
    FOREIGN_SOCKETS = BlindSpot(
        "foreign-sockets",
        "no probe may be attached to the root of the cgroup hierarchy",
        "what goes over sockets that were made outside the scope is not seen at all",
        "run egressmon where the hierarchy's root is visible (docker run "
        "--cgroupns=host)",
    )
    CGROUP_NAMESPACE = BlindSpot(
        "cgroup-namespace",
        "egressmon runs in a cgroup namespace: what it takes for the hierarchy's root "
        "may not be",
        "what goes over sockets that were made outside the namespace is not seen",
        "run egressmon in the machine's own cgroup namespace (docker run "
        "--cgroupns=host)",
    )
    MAPPINGS = BlindSpot(
        "mappings",
        "the kernel's account of what processes map cannot be had",
        "modules are read from /proc after the event: those of a process that ended at "
        "once are unknown",
        "let egressmon use perf events (CAP_PERFMON, no seccomp filter on "
        "perf_event_open)",
    )
    PYTHON_FRAMES = BlindSpot(
        "python-frames",
        "Python frames cannot be read",
        "the Python code and the test behind a connection are not known",
        "Linux 5.17 or later, with libbpf (--engine libbpf)",
    )
    TASK_CREATORS = BlindSpot(
        "task-creators",
        "return probes may not be used",
        "what created an asynchronous task is not known",
        "Linux 6.10 or older, 6.14 or later",
    )
    COMMAND_CAN_SUDO = BlindSpot(
        "command-can-sudo",
        "the command can become root",
        "as root it can end or blind egressmon, and send what no probe sees",
        'set enforce = "fail" without [command] allow_sudo, or run it as a user whom '
        "sudo lets do nothing",
    )
    ROOT_COMMAND = BlindSpot(
        "root-command",
        "the command runs as root (uid 0)",
        "it can end or blind egressmon, change the evidence, and send what no probe "
        "sees",
        "run egressmon as a user, or through sudo directly: the command is the user's",
    )
    UNCOUNTED_SKIPS = BlindSpot(
        "uncounted-skips",
        "the kernel does not count the probes that it skips",
        "a missing process record would not be noticed",
        "Linux 5.12 or later",
    )


ALWAYS = (
    Blind.PACKET_SOCKETS,
    Blind.UNIX_SOCKETS,
    Blind.ENCRYPTED_DNS,
    Blind.FOREIGN_PACKETS,
)


def declared(
    engine: Engine,
    no_mappings: str = "",
    no_creators: str = "",
    *,
    frames: bool = False,
) -> list[BlindSpot]:
    """Return what cannot be seen with engine, its root hooks attached or not.

    No_mappings says why the kernel's account of mappings cannot be had, and no_creators
    why that of tasks, if so; frames whether Python frames are wanted.
    """
    found: list[Blind] = list(ALWAYS)
    if not host.proc_is_ours():
        found.append(Blind.PID_NAMESPACE)
    if not host.hierarchy_is_whole():
        found.append(Blind.CGROUP_NAMESPACE)
    if not engine.root_hooks:
        found.append(Blind.FOREIGN_SOCKETS)
    if not engine.counts_skipped:
        found.append(Blind.UNCOUNTED_SKIPS)
    spots = [one.value for one in found]
    if no_mappings:
        spots.append(replace(Blind.MAPPINGS.value, reason=no_mappings))
    if frames and engine.frames is None:
        spots.append(replace(Blind.PYTHON_FRAMES.value, reason=engine.no_frames))
    if no_creators:
        spots.append(replace(Blind.TASK_CREATORS.value, reason=no_creators))
    return spots


def of_command(found: Escalation) -> list[BlindSpot]:
    """Return what the command could keep from being seen, by what it may do."""
    spots: list[BlindSpot] = []
    if found.as_root is not None:
        spots.append(replace(Blind.ROOT_COMMAND.value, reason=found.as_root))
    if found.can_sudo is not None:
        spots.append(replace(Blind.COMMAND_CAN_SUDO.value, reason=found.can_sudo))
    return spots


def refused(error: OSError) -> str:
    """Return why the kernel's account of mappings cannot be had."""
    return f"perf events may not be used ({error.strerror})"
