"""Turn event bytes into frozen values: pure, so that a recording replays."""

import ipaddress
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from egressmon.probes.architecture import this_machine
from egressmon.probes.wire import CONSTANTS, LAYOUTS
from egressmon.text import from_c_string

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
StackStatus: TypeAlias = Literal[
    "copied", "known", "kernel-thread", "io-worker", "compat", "unreadable"
]

FLAG_REFUSED = CONSTANTS["FLAG_REFUSED"]
FLAG_CANARY = CONSTANTS["FLAG_CANARY"]
FLAG_FOREIGN = CONSTANTS["FLAG_FOREIGN"]
FLAG_INGRESS = CONSTANTS["FLAG_INGRESS"]
FLAG_LISTENER_EXACT = CONSTANTS["FLAG_LISTENER_EXACT"]
FLAG_LISTENER_WILDCARD = CONSTANTS["FLAG_LISTENER_WILDCARD"]
FLAG_OWNERLESS = CONSTANTS["FLAG_OWNERLESS"]
FLAG_STACK_LOST = CONSTANTS["FLAG_STACK_LOST"]

_FORK = CONSTANTS["KIND_FORK"]
_EXEC = CONSTANTS["KIND_EXEC"]
_EXIT = CONSTANTS["KIND_EXIT"]
_DNS = CONSTANTS["KIND_DNS"]
_STACK = CONSTANTS["KIND_STACK"]
_OPERATIONS = {
    CONSTANTS["KIND_CONNECT"]: "connect",
    CONSTANTS["KIND_SENDMSG"]: "send",
    CONSTANTS["KIND_PACKET"]: "packet",
}
_PROCESS_EVENT = LAYOUTS["process_event"]
_EXEC_EVENT = LAYOUTS["exec_event"]
_FLOW_EVENT = LAYOUTS["flow_event"]
_DNS_EVENT = LAYOUTS["dns_event"]
_STACK_EVENT = LAYOUTS["stack_event"]
_REGISTERS = LAYOUTS["registers"]
_STATUSES: dict[int, StackStatus] = {
    CONSTANTS["STACK_COPIED"]: "copied",
    CONSTANTS["STACK_KNOWN"]: "known",
    CONSTANTS["STACK_KERNEL_THREAD"]: "kernel-thread",
    CONSTANTS["STACK_IO_WORKER"]: "io-worker",
    CONSTANTS["STACK_COMPAT"]: "compat",
    CONSTANTS["STACK_UNREADABLE"]: "unreadable",
}
_ARCHITECTURE = this_machine()
_PROGRAM_COUNTER = _ARCHITECTURE.program_counter if _ARCHITECTURE else 0
_STACK_POINTER = (
    _ARCHITECTURE.registers[_ARCHITECTURE.stack_pointer] if _ARCHITECTURE else 0
)
_MAPPED = bytes(10) + b"\xff\xff"


class DecodeError(ValueError):
    """Bytes that are no event of this version: short, or of an unknown kind."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A process of the scope made another."""

    ktime_ns: int
    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str


@dataclass(frozen=True, slots=True)
class Executed:
    """A process of the scope runs a new program."""

    ktime_ns: int
    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str
    path: str
    """What the kernel was asked to run, as the process named it."""
    inode: int
    """The inode number of the executable, or of a script's interpreter."""
    arguments: bytes
    """The argument strings, each NUL-terminated; perhaps cut."""
    arguments_size: int
    """How many bytes the whole argument list takes."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The last thread of a process of the scope ended."""

    ktime_ns: int
    pid: int
    start_ns: int
    code: int
    """The status as wait(2) gives it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A socket reached for a peer, or a packet went to one that none announced."""

    ktime_ns: int
    operation: str
    pid: int
    tid: int
    uid: int
    comm: str
    cookie: int
    netns: int
    flags: int
    socket_type: int
    protocol: int
    address: Address
    port: int
    stack_ns: int
    """The time of the stack that the same thread was at; 0: none was copied."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A thread's registers and the top of its stack, as it named a peer."""

    ktime_ns: int
    pid: int
    tid: int
    status: StackStatus
    address_space: int
    template: int
    registers: tuple[int, ...]
    content: bytes

    @property
    def program_counter(self) -> int:
        """Where the thread was."""
        return self.registers[_PROGRAM_COUNTER]

    @property
    def stack_pointer(self) -> int:
        """Where its stack was: content begins there."""
        return self.registers[_STACK_POINTER]


@dataclass(frozen=True, slots=True)
class DnsPacket:
    """What one packet to or from port 53 carried, or a part of it."""

    ktime_ns: int
    pid: int
    tid: int
    uid: int
    comm: str
    cookie: int
    netns: int
    flags: int
    sequence: int
    segment_size: int
    total_size: int
    protocol: int
    server: Address
    client_port: int
    payload: bytes


Event: TypeAlias = Forked | Executed | Exited | Flow | DnsPacket | Stack


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
    """Return the name of an IP protocol, or its number where it has none here."""
    return _PROTOCOLS.get(number) or str(number)


@lru_cache(maxsize=4096)
def address(data: bytes) -> Address:
    """Return sixteen bytes as an address; a v4-mapped one is IPv4 (RFC 4291)."""
    if data.startswith(_MAPPED):
        return ipaddress.IPv4Address(data[12:])
    return ipaddress.IPv6Address(data)


@lru_cache(maxsize=1024)
def _comm(data: bytes) -> str:
    return from_c_string(data)


def decode(data: bytes) -> Event:
    """Return the event in data; raises DecodeError for anything else."""
    kind = int.from_bytes(data[8:12], "little")
    reader = _READERS.get(kind)
    if reader is None:
        raise DecodeError(f"event of unknown kind {kind}, {len(data)} bytes")
    layout, read = reader
    if len(data) < layout.size:
        raise DecodeError(f"event of kind {kind}: {len(data)} of {layout.size} bytes")
    return read(data)


def _process(data: bytes) -> Forked | Exited:
    ktime, kind, pid, start, parent, uid, code, _, comm = _PROCESS_EVENT.unpack_from(
        data
    )
    if kind == _FORK:
        return Forked(ktime, pid, start, parent, uid, _comm(comm))
    return Exited(ktime, pid, start, code)


def _executed(data: bytes) -> Executed:
    (
        ktime, _, pid, start, inode, parent, uid, size, kept, comm, path,
    ) = _EXEC_EVENT.unpack_from(data)  # fmt: skip
    arguments = data[_EXEC_EVENT.size : _EXEC_EVENT.size + kept]
    if len(arguments) != kept:
        raise DecodeError(f"exec event: {len(arguments)} of {kept} argument bytes")
    return Executed(
        ktime, pid, start, parent, uid, _comm(comm), from_c_string(path), inode,
        arguments, size,
    )  # fmt: skip


def _flow(data: bytes) -> Flow:
    (
        ktime, kind, pid, cookie, netns, tid, uid, flags, socket_type,
        protocol, port, _, stack_ns, peer, comm,
    ) = _FLOW_EVENT.unpack_from(data)  # fmt: skip
    return Flow(
        ktime, _OPERATIONS[kind], pid, tid, uid, _comm(comm), cookie, netns, flags,
        socket_type, protocol, address(peer), port, stack_ns,
    )  # fmt: skip


def _dns(data: bytes) -> DnsPacket:
    (
        ktime, _, pid, cookie, netns, tid, uid, flags, sequence, segment, kept,
        protocol, port, total, server, comm,
    ) = _DNS_EVENT.unpack_from(data)  # fmt: skip
    payload = data[_DNS_EVENT.size : _DNS_EVENT.size + kept]
    if len(payload) != kept:
        raise DecodeError(f"DNS event: {len(payload)} of {kept} payload bytes")
    return DnsPacket(
        ktime, pid, tid, uid, _comm(comm), cookie, netns, flags, sequence, segment,
        total, protocol, address(server), port, payload,
    )  # fmt: skip


def _stack(data: bytes) -> Stack:
    (
        ktime, _, pid, tid, status, address_space, template, kept, _,
    ) = _STACK_EVENT.unpack_from(data)  # fmt: skip
    word = _STATUSES.get(status)
    if word is None:
        raise DecodeError(f"stack event of unknown status {status}")
    if word != "copied":
        return Stack(ktime, pid, tid, word, address_space, template, (), b"")
    start = _STACK_EVENT.size + _REGISTERS.size
    content = data[start : start + kept]
    if len(data) < start or len(content) != kept:
        raise DecodeError(f"stack event: {len(content)} of {kept} bytes")
    registers = _REGISTERS.unpack_from(data, _STACK_EVENT.size)
    return Stack(ktime, pid, tid, word, address_space, template, registers, content)


_READERS = {
    _FORK: (_PROCESS_EVENT, _process),
    _EXIT: (_PROCESS_EVENT, _process),
    _EXEC: (_EXEC_EVENT, _executed),
    _DNS: (_DNS_EVENT, _dns),
    _STACK: (_STACK_EVENT, _stack),
    **dict.fromkeys(_OPERATIONS, (_FLOW_EVENT, _flow)),
}
