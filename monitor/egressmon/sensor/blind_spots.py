"""The blind spots of a run: what cannot be seen, why, what follows, what closes it."""

from enum import Enum

from egressmon import host
from egressmon.evidence.records.running import BlindSpot
from egressmon.probes.engine import Engine
from egressmon.sensor.escalation import Escalation
from egressmon.sensor.found_scope import FoundScope
from egressmon.sensor.scope import Scope
from egressmon.sensor.surroundings import Surroundings
from egressmon.values import replace


class KnownBlindSpot(Enum):
    """Every blind spot that a run may have, on any kernel and with any engine."""

    PACKET_SOCKETS = BlindSpot(
        "packet-sockets",
        "AF_PACKET, AF_XDP, other families without hooks, and TUN devices bypass the "
        "hooks: that one is opened is seen, and what goes over it is not",
        "a run that opens one is incomplete; one that was opened outside the scope and "
        "is handed in sends unseen",
        "run the command without CAP_NET_RAW and CAP_NET_ADMIN",
    )
    UNIX_SOCKETS = BlindSpot(
        "unix-sockets",
        "requests over AF_UNIX are not read: that one is connected to a process "
        "outside the scope is seen, but for datagrams and sockets handed in (on some "
        "kernels of arm64, nor where a tracer has a call connect another socket); nor "
        "are messages between processes by AF_NETLINK",
        "a run that reaches a container engine is incomplete; another helper (nscd, "
        "systemd-resolved, D-Bus) can connect on the scope's behalf",
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
        "no hook runs as a socket that was made outside the scope, and listens or is "
        "connected, comes to the command by no open file that it inherits: passed "
        "during the run, waiting in a UNIX socket or in a listener's queue, or as a "
        "further path of MPTCP",
        "what it accepts or sends is neither recorded nor counted; what goes over "
        "sockets that the command inherits as open files, or makes after leaving the "
        "cgroup, is",
        "let no process outside the scope pass sockets to the command, and start it "
        "with none of others",
    )
    GROUP_REPORTS = BlindSpot(
        "group-reports",
        "the kernel itself tells routers which multicast groups are joined (IGMP, MLD)",
        "a group's address and sources carry some ten bytes each time, in no record",
        "a network that drops such packets",
    )
    LOCAL_RULES = BlindSpot(
        "local-rules",
        "root may have set rules and programs that act on packets behind the hooks "
        "(nftables, tc, socket look-up and sockmap programs, connections that move "
        "between listeners of a group, raw sockets that listen in)",
        "what stays on this machine can be copied or handed to another than the socket "
        "that it was sent to",
        "a machine, or a network namespace, without such rules",
    )
    KERNEL_NETWORKING = BlindSpot(
        "kernel-networking",
        "the command may configure the network (CAP_NET_ADMIN)",
        "what the kernel itself sends for it is not seen, or not where it goes "
        "(tunnels: vxlan, gre, ipip; traffic control; packet filter rules); a change "
        "that is noticed makes the run incomplete",
        "run the command as a user without CAP_NET_ADMIN",
    )
    SAME_USER = BlindSpot(
        "same-user",
        "processes of the command's user run outside the scope",
        "the command can have them connect in its place (ptrace, FIFOs, a crontab, "
        "files that they run)",
        "run the command as a user of its own",
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
        "what goes over sockets that were made outside the namespace is not seen, nor "
        "who receives what is sent to an own address that is not a loopback one: that "
        "is never local",
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
    SYSTEM_CALLS = BlindSpot(
        "system-calls",
        "the returns of system calls cannot be watched",
        "packet sockets, TUN devices and container engines are reached unseen",
        "a kernel with tracepoints of system calls (CONFIG_FTRACE_SYSCALLS)",
    )
    RING_SOCKETS = BlindSpot(
        "ring-sockets",
        "what is submitted to io_uring cannot be watched",
        "sockets of other families than IP's may be made or connected there unseen",
        "Linux 6.4 or later; kernel.io_uring_disabled",
    )
    CONTAINERS = BlindSpot(
        "containers",
        "the tracepoints cgroup_mkdir and cgroup_rmdir cannot be attached to",
        "in which container a process is, is not known of those that begin and end "
        "between two walks of the hierarchy",
        "run egressmon as root, on a kernel with these tracepoints",
    )
    EXISTING_SOCKETS = BlindSpot(
        "existing-sockets",
        "who made a socket before the run is not known to the probes",
        "what goes on over a connection, a raw socket or a packet socket that was "
        "there before is not recorded, nor what is sent or accepted by one that was "
        "made outside the scope; what another such socket sends to a new peer is, "
        "without its process",
        "start egressmon before what it is to watch",
    )
    LEFT_BEHIND = BlindSpot(
        "left-behind",
        "the processes that are watched are known by who started them",
        "what they had started before, and whose parent had ended by then, is not "
        "watched; nor is what they have others start (systemd, cron, container engines "
        "that are not watched)",
        "watch the whole machine, or the cgroup in which they are",
    )
    OTHER_THAN_CHOSEN = BlindSpot(
        "chosen-containers",
        "of the machine, only some of its containers are watched",
        "what was not started in a container is not recorded, also if one of them had "
        "it started or asked it: engines (image pulls, builds, containers that it has "
        "them start), services, a process that left its container before the start; "
        "whoever may give an engine orders chooses what containers are called",
        "watch the whole machine (--all)",
    )
    UNCOUNTED_SKIPS = BlindSpot(
        "uncounted-skips",
        "the kernel does not count the probes that it skips",
        "a missing process record would not be noticed",
        "Linux 5.12 or later",
    )


ALWAYS = (
    KnownBlindSpot.PACKET_SOCKETS,
    KnownBlindSpot.UNIX_SOCKETS,
    KnownBlindSpot.ENCRYPTED_DNS,
    KnownBlindSpot.FOREIGN_PACKETS,
    KnownBlindSpot.GROUP_REPORTS,
    KnownBlindSpot.LOCAL_RULES,
)
"""The blind spots of every run of a command."""
_OF_OUTSIDE = frozenset({KnownBlindSpot.FOREIGN_PACKETS})


def declared(  # noqa: PLR0913 -- what a run depends on
    engine: Engine,
    no_mappings: str = "",
    no_creators: str = "",
    *,
    surroundings: Surroundings,
    scope: Scope | None = None,
    frames: bool = False,
    is_part: bool = False,
) -> list[BlindSpot]:
    """Return the blind spots that this machine, `engine` and `surroundings` cause.

    `no_mappings` says why the kernel does not report mappings, `no_creators` why the
    creators of tasks are not noted; each is empty if there is no obstacle. `frames`
    says whether Python frames are to be read. Call it after `engine.attach_root`.
    `scope` matters where it was there before the run. `is_part`: only what some of its
    containers do is recorded.
    """
    holds = _holds(engine, surroundings, scope, is_part=is_part)
    always = _of_all_runs(scope, is_part=is_part)
    found = [*always, *(blind for blind, is_true in holds.items() if is_true)]
    spots = [one.value for one in found]
    if no_mappings:
        spots.append(replace(KnownBlindSpot.MAPPINGS.value, reason=no_mappings))
    if frames and engine.frames is None:
        spots.append(
            replace(KnownBlindSpot.PYTHON_FRAMES.value, reason=engine.no_frames)
        )
    if no_creators:
        spots.append(replace(KnownBlindSpot.TASK_CREATORS.value, reason=no_creators))
    return spots


# Nothing is outside the whole machine.
def _of_all_runs(scope: Scope | None, *, is_part: bool) -> list[KnownBlindSpot]:
    is_machine = isinstance(scope, FoundScope) and scope.is_machine and not is_part
    return [one for one in ALWAYS if not is_machine or one not in _OF_OUTSIDE]


# Whether each that a run may have is there, of those whose reason is always the same.
def _holds(
    engine: Engine, surroundings: Surroundings, scope: Scope | None, *, is_part: bool
) -> dict[KnownBlindSpot, bool]:
    is_found = isinstance(scope, FoundScope)
    return {
        KnownBlindSpot.KERNEL_NETWORKING: surroundings.may_change_network,
        KnownBlindSpot.SAME_USER: surroundings.same_user_runs,
        KnownBlindSpot.PID_NAMESPACE: not host.proc_is_ours(),
        KnownBlindSpot.CGROUP_NAMESPACE: not host.hierarchy_is_whole(),
        KnownBlindSpot.FOREIGN_SOCKETS: not engine.root_hooks,
        KnownBlindSpot.SYSTEM_CALLS: not engine.watches_calls,
        KnownBlindSpot.RING_SOCKETS: not engine.watches_rings,
        KnownBlindSpot.EXISTING_SOCKETS: is_found,
        KnownBlindSpot.CONTAINERS: is_found and not engine.watches_cgroups,
        KnownBlindSpot.LEFT_BEHIND: isinstance(scope, FoundScope)
        and scope.goes_by_lineage,
        KnownBlindSpot.OTHER_THAN_CHOSEN: is_part,
        KnownBlindSpot.UNCOUNTED_SKIPS: not engine.counts_skipped,
    }


def of_command(found: Escalation) -> list[BlindSpot]:
    """Return the blind spots that the command causes if it is, or can become, root."""
    spots: list[BlindSpot] = []
    if found.as_root is not None:
        spots.append(replace(KnownBlindSpot.ROOT_COMMAND.value, reason=found.as_root))
    if found.can_sudo is not None:
        spots.append(
            replace(KnownBlindSpot.COMMAND_CAN_SUDO.value, reason=found.can_sudo)
        )
    return spots


def perf_refusal(error: OSError) -> str:
    """Return the reason to give for `no_mappings` where opening perf events failed."""
    return f"perf events may not be used ({error.strerror})"
