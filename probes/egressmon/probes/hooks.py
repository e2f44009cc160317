"""The tables of BPF programs and maps: what each program attaches to.

Numbers are those of enum bpf_prog_type and enum bpf_attach_type
(include/uapi/linux/bpf.h), which never change.
"""

from typing import Literal, TypeAlias

from egressmon.values import dataclass

_KPROBE = 2
_CGROUP_SKB = 8
_CGROUP_SOCK = 9
_RAW_TRACEPOINT = 17

_CGROUP_SOCK_ADDR = 18

_ATTACH = {
    "ingress": (_CGROUP_SKB, 0),
    "egress": (_CGROUP_SKB, 1),
    "sock_create": (_CGROUP_SOCK, 2),
    "connect4": (_CGROUP_SOCK_ADDR, 10),
    "connect6": (_CGROUP_SOCK_ADDR, 11),
    "post_bind4": (_CGROUP_SOCK, 12),
    "post_bind6": (_CGROUP_SOCK, 13),
    "sendmsg4": (_CGROUP_SOCK_ADDR, 14),
    "sendmsg6": (_CGROUP_SOCK_ADDR, 15),
    "sock_release": (_CGROUP_SOCK, 34),
}

Place: TypeAlias = Literal[
    "scope", "found", "root", "life", "escape", "frames", "frames_root"
]


@dataclass(frozen=True, slots=True)
class Hook:
    """One program, by its name in the source, and what it attaches to.

    `attach_type` is for cgroup programs, `tracepoint` for tracepoints.
    """

    program: str
    place: Place
    program_type: int
    attach_type: int | None = None
    tracepoint: str | None = None


def _cgroup(place: Place, what: str) -> Hook:
    program_type, attach_type = _ATTACH[what]
    return Hook(f"{place}_{what}", place, program_type, attach_type)


def _life(what: str, tracepoint: str, place: Place = "life") -> Hook:
    return Hook(f"{place}_{what}", place, _RAW_TRACEPOINT, tracepoint=tracepoint)


# In the order in which they are attached. A `_second` program emits the same event as
# the first, in case the kernel skips that.
LIFE = (
    _life("fork", "sched_wakeup_new"),
    _life("exec", "sched_process_exec"),
    _life("exec_second", "sched_process_exec"),
    _life("exit", "sched_process_exit"),
    _life("exit_second", "sched_process_free"),
)
_ADDRESS = ("connect4", "connect6", "sendmsg4", "sendmsg6")
_NAMED = ("post_bind4", "post_bind6", *_ADDRESS)
_WHOLE = ("sock_create", "sock_release", "egress", "ingress")
SCOPE = tuple(_cgroup("scope", what) for what in _NAMED)
# Instead of these, on a scope that was there before: they refuse nothing, and are not
# loaded for others. The last one tells which step of a CI job a process begins.
FOUND = (
    *(_cgroup("found", what) for what in _NAMED),
    _life("environment", "sched_process_exec", "found"),
)
# Beside these: which cgroups come and go. Without them, new ones have no name.
FOUND_CGROUPS = (
    _life("cgroup_made", "cgroup_mkdir", "found"),
    _life("cgroup_gone", "cgroup_rmdir", "found"),
)
# These see the scope as well as what it uses from outside; attached to the scope alone
# if they cannot be at the root.
WHOLE = tuple(_cgroup("root", what) for what in _WHOLE)
NAMED = tuple(_cgroup("root", what) for what in _NAMED)
ROOT = (*WHOLE, *NAMED)
# Attached for a moment, in a cgroup namespace.
LEVEL = Hook("scope_level", "scope", *_ATTACH["sock_create"])
# If these cannot be attached, the agent declares a blind spot.
CALL = _life("call", "sys_exit", "escape")
RING = _life("ring", "io_uring_submit_req", "escape")
HOOKS = (*LIFE, *SCOPE, *ROOT, CALL, RING, LEVEL)

# In an object of their own, and attached first: the others refer to their events.
START = _life("start", "sched_process_fork", "frames")
FRAMES = (
    START,
    *(_cgroup("frames", what) for what in ("sock_create", *_ADDRESS)),
)
FRAMES_ROOT = tuple(_cgroup("frames_root", what) for what in _ADDRESS)
# Attached to functions of each interpreter (FrameProbes), not to the scope.
COPIED = Hook("frames_copied", "frames", _KPROBE)
MADE = Hook("frames_made", "frames", _KPROBE)

MAPS = (
    "events",
    "life",
    "lookups",
    "calls",
    "told",
    "counters",
    "sent",
    "settings",
    "scope",
    "lineage",
    "woken",
    "sockets",
    "peers",
    "answerers",
    "uncertain",
    "expected",
    "forged",
    "templates",
)
# Those that only the frames' object has; it shares MAPS.
FRAMES_MAPS = (
    "slots",
    "interpreters",
    "census",
    "pythons",
    "codes",
    "contexts",
    "creators",
)
