"""What the probes tell of, as frozen values."""

import ipaddress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from egressmon.probes.wire import CONSTANTS

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
StackStatus: TypeAlias = Literal[
    "copied", "known", "kernel-thread", "io-worker", "compat", "unreadable"
]
EscapeMeans: TypeAlias = Literal["socket", "tun", "unix", "ring"]
Receiver: TypeAlias = Literal["remote", "scope", "outside", "nobody", "shared", "ask"]
FramesStatus: TypeAlias = Literal[
    "whole", "no-thread", "idle", "unreadable", "cut", "odd", "unnoted"
]

FLAG_REFUSED = CONSTANTS["FLAG_REFUSED"]
FLAG_CANARY = CONSTANTS["FLAG_CANARY"]
FLAG_FOREIGN = CONSTANTS["FLAG_FOREIGN"]
FLAG_INGRESS = CONSTANTS["FLAG_INGRESS"]
FLAG_OWNERLESS = CONSTANTS["FLAG_OWNERLESS"]
FLAG_STACK_LOST = CONSTANTS["FLAG_STACK_LOST"]
FLAG_FRAMES_LOST = CONSTANTS["FLAG_FRAMES_LOST"]
FLAG_UNREAD = CONSTANTS["FLAG_UNREAD"]
PRELOAD_NONE = CONSTANTS["PRELOAD_NONE"]
PRELOAD_SET = CONSTANTS["PRELOAD_SET"]

DNS_BEGIN = CONSTANTS["DNS_BEGIN"]
DNS_URGENT = CONSTANTS["DNS_URGENT"]
DNS_RAW = CONSTANTS["DNS_RAW"]
DNS_LOOPBACK = CONSTANTS["DNS_LOOPBACK"]
DNS_SCOPE_RECEIVES = CONSTANTS["DNS_SCOPE_RECEIVES"]
DNS_LAYERED = CONSTANTS["DNS_LAYERED"]
DNS_SHARED = CONSTANTS["DNS_SHARED"]
DNS_SCOPE_ANSWERS = CONSTANTS["DNS_SCOPE_ANSWERS"]


@dataclass(frozen=True, slots=True)
class Forked:
    """A process of the scope made another."""

    ktime_ns: int
    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str
    exec_id: int = 0
    """How often it and its ancestors have run a program."""


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
    device: int
    """Of its file system, as the kernel knows it."""
    mounts: int
    """The inode number of the process's mount namespace."""
    users: int
    """The same of its user namespace."""
    preload: int
    """Whether the loader was told to load more: one of PRELOAD_*."""
    arguments: bytes
    """The argument strings, each NUL-terminated; perhaps cut."""
    arguments_size: int
    """How many bytes the whole argument list takes."""
    exec_id: int = 0


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
    frames_ns: int
    """The time of the Python frames that the same thread was in; 0: none."""
    receiver: Receiver
    """Who received it, as the kernel said when its first packet left."""
    local_port: int
    """Of the listener that accepts a connection; else 0."""
    start_ns: int = 0
    """When the process began."""
    exec_id: int = 0
    """Which of its programs it ran."""


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
    """As the kernel of the machine that it was copied on orders them."""
    content: bytes
    mounts: int = 0
    """The inode number of the process's mount namespace, at the call."""
    users: int = 0
    """The same of its user namespace."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The Python frames of a thread, at a call or as it started child."""

    ktime_ns: int
    pid: int
    tid: int
    status: FramesStatus
    start_ns: int
    thread_ns: int
    """When the thread began."""
    child_ns: int
    """When child did, where there is one."""
    exec_id: int
    child: int
    """The thread or process that it started; 0: none, it is at a call."""
    total: int
    """How many frames there were."""
    level: int
    """0: the thread's own; else of who created what it runs, so far out."""
    test: str | None
    """What pytest says that it runs."""
    frames: tuple[tuple[int, int, int], ...]
    """Code object, its fingerprint, and where in it, in bytes; innermost first."""


@dataclass(frozen=True, slots=True)
class CodeObject:
    """What the frames of a function have in common; parts of it may be missing."""

    pid: int
    start_ns: int
    exec_id: int
    code: int
    fingerprint: int
    minor: int
    """Of the interpreter's version, 3.minor."""
    first_line: int
    file: str | None
    name: str | None
    lines: bytes | None
    """The table of lines, as that version writes it."""


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
    traits: int
    """What the probes know of the packet: DNS_*."""
    stack_ns: int
    """As in Flow: of the call that asked, or that connected the socket."""
    frames_ns: int
    start_ns: int = 0
    exec_id: int = 0


@dataclass(frozen=True, slots=True)
class Escape:
    """A process of the scope got hold of something that passes the hooks by."""

    ktime_ns: int
    pid: int
    tid: int
    uid: int
    comm: str
    means: EscapeMeans
    family: int
    """Of the socket."""
    peer: int
    """The process that listens at a UNIX socket, as the kernel numbers it."""
    inode: int
    """The inode of the socket's file; 0: it has none."""
    device: int
    path: str | None
    """The name that its listener gave it."""
    start_ns: int = 0
    exec_id: int = 0


Traffic: TypeAlias = Flow | DnsPacket
"""What a call of the scope's led to."""

Event: TypeAlias = (
    Forked | Executed | Exited | Flow | DnsPacket | Stack | Frames | CodeObject | Escape
)
