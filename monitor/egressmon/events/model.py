"""The events that the probes emit, as values. programs/event.h defines them.

Times (`*_ns`) are CLOCK_BOOTTIME in nanoseconds. Ids of processes and threads are those
of the machine's first PID namespace. `comm` is the name that a thread
has given itself.
"""

import ipaddress
from typing import Literal, NamedTuple, TypeAlias

from egressmon.probes.wire import CONSTANTS

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
StackStatus: TypeAlias = Literal[
    "copied", "known", "kernel-thread", "io-worker", "compat", "unreadable"
]
EscapeMeans: TypeAlias = Literal["socket", "tun", "unix", "ring"]
Receiver: TypeAlias = Literal[
    "remote", "scope", "outside", "nobody", "shared", "ask", "unknown"
]
FramesStatus: TypeAlias = Literal[
    "whole",
    "no-thread",
    "idle",
    "unreadable",
    "cut",
    "odd",
    "unnoted",
    "unsure",
    "no-pointer",
]

FLAG_REFUSED = CONSTANTS["FLAG_REFUSED"]
FLAG_CANARY = CONSTANTS["FLAG_CANARY"]
FLAG_FOREIGN = CONSTANTS["FLAG_FOREIGN"]
FLAG_INGRESS = CONSTANTS["FLAG_INGRESS"]
FLAG_OWNERLESS = CONSTANTS["FLAG_OWNERLESS"]
FLAG_STACK_LOST = CONSTANTS["FLAG_STACK_LOST"]
FLAG_FRAMES_LOST = CONSTANTS["FLAG_FRAMES_LOST"]
FLAG_UNSENT = CONSTANTS["FLAG_UNSENT"]
FLAG_UNASKED = CONSTANTS["FLAG_UNASKED"]
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
DNS_TRANSLATED = CONSTANTS["DNS_TRANSLATED"]
DNS_SCOPE_ANSWERS = CONSTANTS["DNS_SCOPE_ANSWERS"]


class Forked(NamedTuple):
    """A process of the scope created another one."""

    ktime_ns: int
    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str
    exec_id: int = 0
    """How often it and its ancestors have executed a program."""
    shares_memory: bool = False
    """Whether it has its parent's memory, and no copy (vfork, CLONE_VM)."""
    pid_inside: int = 0
    """Its pid in its own pid namespace; 0: unknown."""
    cgroup: int = 0
    """The id of its cgroup in the v2 hierarchy; 0: unknown."""


class Executed(NamedTuple):
    """A process of the scope executed a program."""

    ktime_ns: int
    pid: int
    start_ns: int
    parent: int
    uid: int
    comm: str
    path: str
    """The path that the process gave to execve(2)."""
    inode: int
    """The inode number of the executable, or of a script's interpreter."""
    device: int
    """The device number of its file system, as inside the kernel."""
    mounts: int
    """The inode number of the process's mount namespace."""
    users: int
    """The inode number of the process's user namespace."""
    preload: int
    """Whether LD_PRELOAD or LD_AUDIT is set: one of PRELOAD_*."""
    arguments: bytes
    """The argument strings, each ended by a zero byte; the last may be cut."""
    arguments_size: int
    """The size of the whole argument list in bytes."""
    exec_id: int = 0
    place: int = 0
    """Differs for each name and mount by which its file may be opened; 0: unknown."""
    root: int = 0
    """The same of the process's root folder."""
    pid_inside: int = 0
    """As in Forked."""
    cgroup: int = 0


class Environment(NamedTuple):
    """The environment with which a process executed a program.

    Only of children of what starts the steps of CI jobs.
    """

    ktime_ns: int
    pid: int
    start_ns: int
    parent: int
    content: bytes
    """The variables, each ended by a zero byte; the last may be cut."""
    size: int
    """The size of the whole environment in bytes."""


class Exited(NamedTuple):
    """The last thread of a process of the scope ended."""

    ktime_ns: int
    pid: int
    start_ns: int
    code: int
    """The status as wait(2) gives it."""


class Flow(NamedTuple):
    """A socket sent to a peer, or a peer connected to a listener.

    `operation` is `connect`, `send`, `accept`, or, for a packet to a peer that no hook
    had announced, `packet`.
    """

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
    """The `ktime_ns` of the Stack event of the same call; 0 if there is none."""
    frames_ns: int
    """The `ktime_ns` of the Frames event of the same call; 0 if there is none."""
    receiver: Receiver
    """Who receives it, as the kernel looked it up when its first packet left."""
    local_port: int
    """The port of the listener that accepts the connection; else 0."""
    start_ns: int = 0
    """When the process began."""
    exec_id: int = 0
    """Which of its programs the process ran, as in Forked."""
    sent_to: tuple[Address, int] | None = None
    """Where this machine sends it instead, as netfilter translates it (NAT)."""
    cgroup: int = 0
    """As in Forked, when the process made or last aimed the socket."""


class Stack(NamedTuple):
    """A thread's registers and the top of its stack at the call that named a peer."""

    ktime_ns: int
    pid: int
    tid: int
    status: StackStatus
    address_space: int
    template: int
    """The number of the call site, if `status` is `known`; `content` is empty then."""
    registers: tuple[int, ...]
    """In the order of the kernel's struct for the machine's architecture."""
    content: bytes
    mounts: int = 0
    """The inode number of the process's mount namespace, at the call."""
    users: int = 0
    """The inode number of the process's user namespace, at the call."""
    missing: int = 0
    """Pages of `content` that are zeros, as they could not be read: bit n, the n-th."""


class Frames(NamedTuple):
    """The Python frames of a thread, at a call or as it started a thread or process."""

    ktime_ns: int
    pid: int
    tid: int
    status: FramesStatus
    start_ns: int
    thread_ns: int
    """When the thread began."""
    child_ns: int
    """When `child` began; 0 if there is none."""
    exec_id: int
    child: int
    """The id of the thread or process that it started; 0 if it is at a call."""
    total: int
    """How many frames there were; `frames` may have fewer."""
    level: int
    """0: the thread's own frames; 1: those that created the asyncio task that it runs;
    2: those that created the task in which that happened, and so on."""
    test: str | None
    """The test that runs, as pytest sets it in PYTEST_CURRENT_TEST."""
    frames: tuple[tuple[int, int, int], ...]
    """(code object's address, its fingerprint, offset in its code in bytes) of each;
    the innermost is first."""
    callback: bool = False
    """With a level: whether the creator's task scheduled a callback of asyncio's, in
    which what is one level lower happened, and whose own frames are not known."""


class CodeObject(NamedTuple):
    """A Python code object (a compiled function); parts of it may be missing."""

    pid: int
    start_ns: int
    exec_id: int
    code: int
    """Its address."""
    fingerprint: int
    """Tells apart code objects that were at the same address, one after the other."""
    minor: int
    """The second number of the CPython version: 11 for 3.11."""
    first_line: int
    file: str | None
    name: str | None
    lines: bytes | None
    """The table of lines, in the format of that version."""


class DnsPacket(NamedTuple):
    """The payload of a packet to or from port 53, or a part of it."""

    ktime_ns: int
    pid: int
    tid: int
    uid: int
    comm: str
    cookie: int
    netns: int
    flags: int
    sequence: int
    """TCP: the sequence number of the first byte. UDP: the offset of this part."""
    segment_size: int
    """The size of each datagram, if the packet has several (UDP_SEGMENT); else 0."""
    total_size: int
    """The size of the whole payload in bytes; `payload` may have less."""
    protocol: int
    server: Address
    client_port: int
    payload: bytes
    traits: int
    """What the probes know of the packet: bits DNS_*."""
    stack_ns: int
    """As in Flow, of the call that sent it or that connected the socket."""
    frames_ns: int
    start_ns: int = 0
    exec_id: int = 0
    cgroup: int = 0
    """As in Flow."""


class Escape(NamedTuple):
    """A process of the scope opened a way out that the hooks do not see."""

    ktime_ns: int
    pid: int
    tid: int
    uid: int
    comm: str
    means: EscapeMeans
    family: int
    """The address family of the socket."""
    peer: int
    """The id of the process that listens at a UNIX socket; 0 if there is none."""
    inode: int
    """The inode number of the socket's file; 0 if it has none."""
    device: int
    path: str | None
    """The name that the listener bound; "@" begins an abstract one."""
    start_ns: int = 0
    exec_id: int = 0
    cgroup: int = 0


class CgroupChanged(NamedTuple):
    """A cgroup of the v2 hierarchy was made or removed."""

    ktime_ns: int
    pid: int
    """The process that did it."""
    cgroup: int
    """Its id: the inode number of its folder."""
    is_made: bool
    path: str
    """From the hierarchy's root."""
    uid: int
    """The user of that process, as the first user namespace has it."""
    is_cut: bool
    """Whether the path is longer than what is read of it."""


Traffic: TypeAlias = Flow | DnsPacket
"""The events that are attributed to a call in the scope."""

Event: TypeAlias = (
    Forked
    | Executed
    | Exited
    | Environment
    | Flow
    | DnsPacket
    | Stack
    | Frames
    | CodeObject
    | Escape
    | CgroupChanged
)
