"""Look at event bytes without decoding them: only at what tells repeated calls apart.

Most events repeat an earlier one but for its time. What is returned here has the names
and the meaning that the fields of the decoded events have.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from egressmon.probes.wire import CONSTANTS, LAYOUTS, STRUCTS

_STACK_EVENT = LAYOUTS["stack_event"]
_FLOW_EVENT = LAYOUTS["flow_event"]
_FRAMES_EVENT = LAYOUTS["frames_event"]
_KNOWN = CONSTANTS["STACK_KNOWN"]

STACK: Final = CONSTANTS["KIND_STACK"]
FRAMES: Final = CONSTANTS["KIND_FRAMES"]
FLOWS: Final = frozenset(
    CONSTANTS[f"KIND_{name}"] for name in ("CONNECT", "SENDMSG", "PACKET")
)
"""Flows that the scope begins."""

_LIFE = frozenset(CONSTANTS[f"KIND_{name}"] for name in ("FORK", "EXEC", "EXIT"))
_EXIT = CONSTANTS["KIND_EXIT"]
_KIND = slice(8, 12)
_KIND_AT = 8  # the first byte tells kinds apart
_PID = slice(12, 16)
_AFTER_TIME = STRUCTS["stack_event"].kind.offset
_COOKIE = STRUCTS["flow_event"].cookie.offset
_AFTER_COOKIE = STRUCTS["flow_event"].netns.offset
_CALL = STRUCTS["flow_event"].stack_ns.offset
_AFTER_CALL = STRUCTS["flow_event"].address.offset


class KnownStack(NamedTuple):
    """A stack event of a call site that the probes recognised."""

    ktime_ns: int
    pid: int
    tid: int
    template: int


class FramesHead(NamedTuple):
    """What of a frames event differs from call to call, or from thread to thread."""

    ktime_ns: int
    tid: int
    thread_ns: int
    child: int
    level: int


class FlowHead(NamedTuple):
    """What of a flow event tells who made it, and whether it is like others."""

    ktime_ns: int
    pid: int
    tid: int
    flags: int
    port: int
    receiver: int
    stack_ns: int
    frames_ns: int
    address: bytes
    netns: int
    cgroup: int


def kind_of(data: bytes) -> int:
    """Return the kind of an event, a number of event.h; 0 if it is too short."""
    return int.from_bytes(data[_KIND], "little")


def ended_in(events: Sequence[bytes]) -> frozenset[int]:
    """Return the processes that have ended for good when `events` are over."""
    last: dict[bytes, int] = {}
    for data in events:
        if len(data) > _KIND_AT and data[_KIND_AT] in _LIFE:
            last[data[_PID]] = data[_KIND_AT]
    return frozenset(
        int.from_bytes(pid, "little") for pid, kind in last.items() if kind == _EXIT
    )


def tells_of_processes_alone(events: Sequence[bytes]) -> bool:
    """Tell whether all of `events` are of processes that begin, execute or end."""
    return all(len(data) > _KIND_AT and data[_KIND_AT] in _LIFE for data in events)


def known_stack(data: bytes) -> KnownStack | None:
    """Return what a stack event says if its call site is known; else None."""
    if len(data) != _STACK_EVENT.size:
        return None
    ktime, _, pid, tid, status, _, template, _, _, _, _ = _STACK_EVENT.unpack(data)
    return KnownStack(ktime, pid, tid, template) if status == _KNOWN else None


def frames_head(data: bytes) -> FramesHead | None:
    """Return the head of a frames event; None if it is too short."""
    if len(data) < _FRAMES_EVENT.size:
        return None
    ktime, _, _, tid, _, _, thread, _, _, child, _, _, level, _, _ = (
        _FRAMES_EVENT.unpack_from(data)
    )
    return FramesHead(ktime, tid, thread, child, level)


def frames_rest(data: bytes) -> bytes:
    """Return all of a frames event but its time."""
    return data[_AFTER_TIME:]


def flow_head(data: bytes) -> FlowHead | None:
    """Return the head of a flow event; None if its size is wrong."""
    if len(data) != _FLOW_EVENT.size:
        return None
    (
        ktime, _, pid, _, netns, cgroup, tid, _, flags, _, _, port, receiver, _, _, _,
        _, _, stack_ns, frames_ns, peer, _, _,
    ) = _FLOW_EVENT.unpack(data)  # fmt: skip
    return FlowHead(
        ktime, pid, tid, flags, port, receiver, stack_ns, frames_ns, peer, netns, cgroup
    )


def flow_rest(data: bytes) -> bytes:
    """Return all of a flow event but its time, its cookie and its references."""
    return data[_AFTER_TIME:_COOKIE] + data[_AFTER_COOKIE:_CALL] + data[_AFTER_CALL:]
