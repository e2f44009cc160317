"""Decode event bytes into frozen values; without state, so that recordings replay."""

import ipaddress
import os
import socket
import struct
from functools import lru_cache

from egressmon.events.model import (
    Address,
    CgroupChanged,
    CodeObject,
    DnsPacket,
    Environment,
    Escape,
    EscapeMeans,
    Event,
    Executed,
    Exited,
    Flow,
    Forked,
    Frames,
    FramesStatus,
    Receiver,
    Stack,
    StackStatus,
)
from egressmon.probes.wire import CONSTANTS, LAYOUTS
from egressmon.text import from_bytes, from_c_string

_FORK = CONSTANTS["KIND_FORK"]
_EXEC = CONSTANTS["KIND_EXEC"]
_EXIT = CONSTANTS["KIND_EXIT"]
_DNS = CONSTANTS["KIND_DNS"]
_STACK = CONSTANTS["KIND_STACK"]
_FRAMES = CONSTANTS["KIND_FRAMES"]
_CODE = CONSTANTS["KIND_CODE"]
_ESCAPE = CONSTANTS["KIND_ESCAPE"]
_CGROUP = CONSTANTS["KIND_CGROUP"]
_ENVIRONMENT = CONSTANTS["KIND_ENVIRONMENT"]
_OPERATIONS = {
    CONSTANTS["KIND_CONNECT"]: "connect",
    CONSTANTS["KIND_SENDMSG"]: "send",
    CONSTANTS["KIND_PACKET"]: "packet",
    CONSTANTS["KIND_ACCEPT"]: "accept",
}
_NAMES = {
    **_OPERATIONS,
    _FORK: "fork",
    _EXEC: "exec",
    _EXIT: "exit",
    _DNS: "dns",
    _STACK: "stack",
    _FRAMES: "frames",
    _CODE: "code",
    _ESCAPE: "escape",
    _CGROUP: "cgroup",
    _ENVIRONMENT: "environment",
}
_PROCESS_EVENT = LAYOUTS["process_event"]
_EXEC_EVENT = LAYOUTS["exec_event"]
_FLOW_EVENT = LAYOUTS["flow_event"]
_DNS_EVENT = LAYOUTS["dns_event"]
_STACK_EVENT = LAYOUTS["stack_event"]
_FRAMES_EVENT = LAYOUTS["frames_event"]
_CODE_EVENT = LAYOUTS["code_event"]
_ESCAPE_EVENT = LAYOUTS["escape_event"]
_CGROUP_EVENT = LAYOUTS["cgroup_event"]
_ENVIRONMENT_EVENT = LAYOUTS["environment_event"]
_REGISTERS = LAYOUTS["registers"]
# struct frame of event.h; its offset in the code is signed.
_FRAME = struct.Struct("=QIi")
_STACK_STATUSES: dict[int, StackStatus] = {
    CONSTANTS["STACK_COPIED"]: "copied",
    CONSTANTS["STACK_KNOWN"]: "known",
    CONSTANTS["STACK_KERNEL_THREAD"]: "kernel-thread",
    CONSTANTS["STACK_IO_WORKER"]: "io-worker",
    CONSTANTS["STACK_COMPAT"]: "compat",
    CONSTANTS["STACK_UNREADABLE"]: "unreadable",
}
_RECEIVERS: dict[int, Receiver] = {
    CONSTANTS["RECEIVER_REMOTE"]: "remote",
    CONSTANTS["RECEIVER_SCOPE"]: "scope",
    CONSTANTS["RECEIVER_OUTSIDE"]: "outside",
    CONSTANTS["RECEIVER_NOBODY"]: "nobody",
    CONSTANTS["RECEIVER_SHARED"]: "shared",
    CONSTANTS["RECEIVER_ASK"]: "ask",
    CONSTANTS["RECEIVER_UNKNOWN"]: "unknown",
}
_FRAMES_STATUSES: dict[int, FramesStatus] = {
    CONSTANTS["FRAMES_WHOLE"]: "whole",
    CONSTANTS["FRAMES_NO_THREAD"]: "no-thread",
    CONSTANTS["FRAMES_IDLE"]: "idle",
    CONSTANTS["FRAMES_UNREADABLE"]: "unreadable",
    CONSTANTS["FRAMES_CUT"]: "cut",
    CONSTANTS["FRAMES_ODD"]: "odd",
    CONSTANTS["FRAMES_UNNOTED"]: "unnoted",
    CONSTANTS["FRAMES_UNSURE"]: "unsure",
    CONSTANTS["FRAMES_NO_POINTER"]: "no-pointer",
}
# How a str stores its characters, by bytes in a character; 0: ASCII (PEP 393).
_ENCODINGS = {0: "ascii", 1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
_ESCAPE_MEANS: dict[int, EscapeMeans] = {
    CONSTANTS["ESCAPE_SOCKET"]: "socket",
    CONSTANTS["ESCAPE_TUN"]: "tun",
    CONSTANTS["ESCAPE_UNIX"]: "unix",
    CONSTANTS["ESCAPE_RING"]: "ring",
}
# The characters can be anything, also lone surrogates: evidence/gate.py escapes them.
_ERROR_HANDLERS = {
    0: "surrogateescape",
    1: "strict",
    2: "surrogatepass",
    4: "surrogatepass",
}
_IPV4_MAPPED = bytes(10) + b"\xff\xff"


class DecodeError(ValueError):
    """The bytes are no valid event: too short, or of an unknown kind or value."""


_PROTOCOLS = {
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_ICMPV6: "icmpv6",
    socket.IPPROTO_SCTP: "sctp",
    socket.IPPROTO_UDPLITE: "udplite",
    socket.IPPROTO_RAW: "raw",
}


def protocol_name(number: int) -> str:
    """Return a short name for the IP protocol `number`, or the number as text."""
    return _PROTOCOLS.get(number) or str(number)


@lru_cache(maxsize=4096)
def address(data: bytes) -> Address:
    """Return 16 bytes as an address; an IPv4-mapped one is IPv4 (RFC 4291)."""
    if data.startswith(_IPV4_MAPPED):
        return ipaddress.IPv4Address(data[12:])
    return ipaddress.IPv6Address(data)


def forget() -> None:
    """Let go of what is remembered of earlier events, to save memory."""
    address.cache_clear()


@lru_cache(maxsize=1024)
def _comm(data: bytes) -> str:
    return from_c_string(data)


def decode(data: bytes) -> Event:
    """Return the event in `data`; raises DecodeError if it is not valid."""
    kind = int.from_bytes(data[8:12], "little")
    reader = _READERS.get(kind)
    if reader is None:
        raise DecodeError(f"event of unknown kind {kind}, {len(data)} bytes")
    layout, read = reader
    if len(data) < layout.size:
        raise DecodeError(f"event of kind {kind}: {len(data)} of {layout.size} bytes")
    return read(data)


def kind_of(data: bytes) -> str:
    """Return the name of the kind that `data` claims to be, even if it is not valid."""
    kind = int.from_bytes(data[8:12], "little")
    return _NAMES.get(kind) or f"kind {kind}"


def _process(data: bytes) -> Forked | Exited:
    (
        ktime, kind, pid, start, parent, uid, code, exec_id, shares, inside, cgroup,
        comm,
    ) = _PROCESS_EVENT.unpack_from(data)  # fmt: skip
    if kind == _FORK:
        return Forked(
            ktime, pid, start, parent, uid, _comm(comm), exec_id, bool(shares), inside,
            cgroup,
        )  # fmt: skip
    return Exited(ktime, pid, start, code)


def _executed(data: bytes) -> Executed:
    (
        ktime, _, pid, start, inode, device, mounts, users, preload, parent, uid,
        size, kept, exec_id, place, root, inside, cgroup, comm, path,
    ) = _EXEC_EVENT.unpack_from(data)  # fmt: skip
    arguments = data[_EXEC_EVENT.size : _EXEC_EVENT.size + kept]
    if len(arguments) != kept:
        raise DecodeError(f"exec event: {len(arguments)} of {kept} argument bytes")
    return Executed(
        ktime, pid, start, parent, uid, _comm(comm), from_c_string(path), inode,
        os.makedev(device >> 20, device & 0xFFFFF), mounts, users, preload,
        arguments, size, exec_id, place, root, inside, cgroup,
    )  # fmt: skip


def _environment(data: bytes) -> Environment:
    ktime, _, pid, start, parent, size, kept, _, _ = _ENVIRONMENT_EVENT.unpack_from(
        data
    )
    content = data[_ENVIRONMENT_EVENT.size : _ENVIRONMENT_EVENT.size + kept]
    if len(content) != kept:
        raise DecodeError(f"environment event: {len(content)} of {kept} bytes")
    return Environment(ktime, pid, start, parent, content, size)


def _flow(data: bytes) -> Flow:
    (
        ktime, kind, pid, cookie, netns, cgroup, tid, uid, flags, socket_type,
        protocol, port, receiver, local_port, exec_id, sent_port, _, start, stack_ns,
        frames_ns, peer, sent_to, comm,
    ) = _FLOW_EVENT.unpack_from(data)  # fmt: skip
    if receiver not in _RECEIVERS:
        raise DecodeError(f"flow event of unknown receiver {receiver}")
    return Flow(
        ktime, _OPERATIONS[kind], pid, tid, uid, _comm(comm), cookie, netns, flags,
        socket_type, protocol, address(peer), port, stack_ns, frames_ns,
        _RECEIVERS[receiver], local_port, start, exec_id,
        (address(sent_to), sent_port) if sent_port else None, cgroup,
    )  # fmt: skip


def _dns(data: bytes) -> DnsPacket:
    (
        ktime, _, pid, cookie, netns, cgroup, tid, uid, flags, sequence, segment,
        kept, protocol, port, total, traits, exec_id, start, stack_ns, frames_ns,
        server, comm,
    ) = _DNS_EVENT.unpack_from(data)  # fmt: skip
    payload = data[_DNS_EVENT.size : _DNS_EVENT.size + kept]
    if len(payload) != kept:
        raise DecodeError(f"DNS event: {len(payload)} of {kept} payload bytes")
    return DnsPacket(
        ktime, pid, tid, uid, _comm(comm), cookie, netns, flags, sequence, segment,
        total, protocol, address(server), port, payload, traits, stack_ns, frames_ns,
        start, exec_id, cgroup,
    )  # fmt: skip


def _escape(data: bytes) -> Escape:
    (
        ktime, _, pid, start, cgroup, exec_id, tid, uid, what, family, peer, inode,
        device, size, comm, path, _,
    ) = _ESCAPE_EVENT.unpack_from(data)  # fmt: skip
    word = _ESCAPE_MEANS.get(what)
    if word is None:
        raise DecodeError(f"escape event of unknown kind {what}")
    return Escape(
        ktime, pid, tid, uid, _comm(comm), word, family, peer, inode, device,
        _unix_name(path[:size]), start, exec_id, cgroup,
    )  # fmt: skip


def _cgroup(data: bytes) -> CgroupChanged:
    ktime, _, pid, cgroup, is_made, uid, size, _, path = _CGROUP_EVENT.unpack_from(data)
    is_cut = size >= len(path) - 1
    return CgroupChanged(
        ktime, pid, cgroup, bool(is_made), from_bytes(path[:size]), uid, is_cut
    )


# An abstract name begins with a zero byte, and is not ended by one (unix(7)).
def _unix_name(data: bytes) -> str | None:
    if data.startswith(b"\0"):
        return f"@{from_bytes(data[1:])}"
    return from_c_string(data) or None


def _stack(data: bytes) -> Stack:
    (
        ktime, _, pid, tid, status, address_space, template, kept, mounts, users,
        missing,
    ) = _STACK_EVENT.unpack_from(data)  # fmt: skip
    word = _STACK_STATUSES.get(status)
    if word is None:
        raise DecodeError(f"stack event of unknown status {status}")
    if word != "copied":
        return Stack(
            ktime, pid, tid, word, address_space, template, (), b"", mounts, users
        )
    start = _STACK_EVENT.size + _REGISTERS.size
    content = data[start : start + kept]
    if len(data) < start or len(content) != kept:
        raise DecodeError(f"stack event: {len(content)} of {kept} bytes")
    registers = _REGISTERS.unpack_from(data, _STACK_EVENT.size)
    return Stack(
        ktime, pid, tid, word, address_space, template, registers, content, mounts,
        users, missing,
    )  # fmt: skip


def _frames(data: bytes) -> Frames:
    (
        ktime, _, pid, tid, status, start, thread, child_ns, exec_id, child, count,
        total, level, callback, test,
    ) = _FRAMES_EVENT.unpack_from(data)  # fmt: skip
    word = _FRAMES_STATUSES.get(status)
    content = data[_FRAMES_EVENT.size : _FRAMES_EVENT.size + count * _FRAME.size]
    if word is None or len(content) != count * _FRAME.size:
        raise DecodeError(f"frames event: status {status}, {len(content)} bytes")
    return Frames(
        ktime, pid, tid, word, start, thread, child_ns, exec_id, child, total, level,
        _test(test), tuple(_FRAME.iter_unpack(content)), bool(callback),
    )  # fmt: skip


# The test that pytest runs; "…" at its end if it was cut.
def _test(data: bytes) -> str | None:
    text = from_c_string(data)
    whole = len(data.partition(b"\0")[0]) < CONSTANTS["TEST_SIZE"] - 1
    return (text if whole else f"{text}…") or None


def _code(data: bytes) -> CodeObject:
    (
        _, _, pid, start, code, exec_id, fingerprint, minor, missing, first_line,
        file_size, file_kind, name_size, name_kind, lines_size,
    ) = _CODE_EVENT.unpack_from(data)  # fmt: skip
    name_at = _CODE_EVENT.size + file_size
    lines_at = name_at + name_size
    if len(data) < lines_at + lines_size:
        raise DecodeError(f"code event: {len(data)} bytes are too few")
    file = _text(data[_CODE_EVENT.size : name_at], file_kind)
    name = _text(data[name_at:lines_at], name_kind)
    if missing & CONSTANTS["CODE_CUT_FILE"]:
        file += "…"
    if missing & CONSTANTS["CODE_CUT_NAME"]:
        name += "…"
    return CodeObject(
        pid, start, exec_id, code, fingerprint, minor, first_line,
        None if missing & CONSTANTS["CODE_NO_FILE"] else file,
        None if missing & CONSTANTS["CODE_NO_NAME"] else name,
        None if missing & CONSTANTS["CODE_NO_LINES"]
        else data[lines_at : lines_at + lines_size],
    )  # fmt: skip


# The text is from the memory of the watched process, so it can be anything.
def _text(data: bytes, kind: int) -> str:
    encoding = _ENCODINGS.get(kind)
    if encoding is None:
        raise DecodeError(f"code event: characters of {kind} bytes")
    try:
        return data.decode(encoding, _ERROR_HANDLERS[kind])
    except UnicodeDecodeError:
        return data.decode(encoding, "replace")


_READERS = {
    _FORK: (_PROCESS_EVENT, _process),
    _EXIT: (_PROCESS_EVENT, _process),
    _EXEC: (_EXEC_EVENT, _executed),
    _DNS: (_DNS_EVENT, _dns),
    _STACK: (_STACK_EVENT, _stack),
    _FRAMES: (_FRAMES_EVENT, _frames),
    _CODE: (_CODE_EVENT, _code),
    _ESCAPE: (_ESCAPE_EVENT, _escape),
    _CGROUP: (_CGROUP_EVENT, _cgroup),
    _ENVIRONMENT: (_ENVIRONMENT_EVENT, _environment),
    **dict.fromkeys(_OPERATIONS, (_FLOW_EVENT, _flow)),
}
