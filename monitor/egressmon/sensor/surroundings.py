"""Find out whom the command could use to send for it: the kernel, its user's processes.

The kernel sends by itself when the network is configured so (tunnels, packet filters).
Sources of the numbers: include/uapi/linux/{rtnetlink,nfnetlink,netlink}.h.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from egressmon import host
from egressmon.values import dataclass

_CAP_NET_ADMIN = 12
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_ROUTES = {24: "a route was added", 25: "a route was removed"}
_RTM_RULES = {32: "a routing rule was added", 33: "a routing rule was removed"}
_RTM_TRAFFIC = {
    36: "a queueing discipline was added",
    37: "a queueing discipline was removed",
    40: "a traffic class was added",
    44: "a traffic filter was added",
}
# Who made a route: rtm_protocol, at this offset in struct rtmsg; the kernel's values
# are redirect, kernel and router advertisement. Who made an address: the attribute
# IFA_PROTO (since Linux 5.18); the kernel's values are loopback, router advertisement
# and link-local.
_PROTOCOL_AT, _KERNELS_ROUTES = 5, frozenset({1, 2, 9})
_IFA_PROTO, _KERNELS_ADDRESSES = 11, frozenset({b"\1", b"\2", b"\3"})
_ROUTE_GROUPS = (1, 4, 5, 7, 8, 9, 11, 19)
"""RTNLGRP_LINK, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE,
IPV6_RULE."""
_NFNLGRP_NFTABLES = 7
_NFT_MSG_NEWGEN = 10 << 8 | 15
_DUMP = 0x301
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_MAX_CHANGES = 8
_MAX_MESSAGES = 20_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Whom a command could use to send in its place."""

    may_change_network: bool
    """Whether the command has CAP_NET_ADMIN: it can configure the kernel to send."""
    same_user_runs: bool
    """Whether other processes of the command's user run."""


def look_around(uid: int) -> Surroundings:
    """Return the surroundings of a command that will run as `uid`.

    Call it before this process gives up any capability, which the command may inherit.
    """
    # In a pid namespace, the processes outside it are invisible: assume that some run.
    same_user_runs = not host.proc_is_ours() or _same_user_runs(uid)
    return Surroundings(_may_change_network(uid), same_user_runs)


def _may_change_network(uid: int) -> bool:
    if uid != os.getuid():
        return False
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    # At execve(2), root gets the capabilities of the bounding set, others the ambient.
    given = fields["CapBnd" if uid == 0 else "CapAmb"]
    return bool(int(given, 16) >> _CAP_NET_ADMIN & 1)


def _same_user_runs(uid: int) -> bool:
    for name in os.listdir("/proc"):  # noqa: PTH208 -- the names alone
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            folder = Path("/proc", name)
            # Kernel threads and zombies have an empty command line.
            if folder.stat().st_uid == uid and (folder / "cmdline").read_bytes():
                return True
    return False


class NetworkWatch:
    """Notes changes of the network configuration in this network namespace."""

    def __init__(self) -> None:
        """Begin to watch; raises OSError if the kernel does not allow it."""
        self._route = _subscribed(_NETLINK_ROUTE, _ROUTE_GROUPS)
        self._filter: socket.socket | None = None
        with suppress(OSError):  # a kernel without nftables
            self._filter = _subscribed(_NETLINK_NETFILTER, (_NFNLGRP_NFTABLES,))
        self._links = set(_dumped(_RTM_GETLINK))
        self._addresses = set(_dumped(_RTM_GETADDR))

    def changes(self) -> list[str]:
        """Return what changed since the watch began: at most 8 texts, each once."""
        found = dict.fromkeys(self._route_changes())
        if self._filter is not None:
            found |= dict.fromkeys(_filter_changes(self._filter))
        return list(found)[:_MAX_CHANGES]

    def _route_changes(self) -> Iterator[str]:
        for message in _waiting(self._route):
            if message is None:
                yield "more changed than could be followed"
                return
            kind, asker, body = message
            if not asker and _is_the_kernels(kind, body):
                continue
            if kind in {_RTM_NEWLINK, _RTM_DELLINK}:
                yield from self._link(kind, body)
            elif kind in {_RTM_NEWADDR, _RTM_DELADDR}:
                yield from self._address(kind, body)
            elif why := (_RTM_ROUTES | _RTM_RULES | _RTM_TRAFFIC).get(kind):
                yield why

    # RTM_NEWLINK is sent for each change of a known device's state, too: skip these.
    def _link(self, kind: int, body: bytes) -> Iterator[str]:
        if kind == _RTM_DELLINK:
            yield "a network device was removed"
        elif _key(_RTM_GETLINK, body) not in self._links:
            yield "a network device was added"

    def _address(self, kind: int, body: bytes) -> Iterator[str]:
        key = _key(_RTM_GETADDR, body)
        word = "removed" if kind == _RTM_DELADDR else "added"
        if kind == _RTM_DELADDR or key not in self._addresses:
            yield f"the address {_shown(key)} was {word}"

    def close(self) -> None:
        """Stop watching."""
        self._route.close()
        if self._filter is not None:
            self._filter.close()


def _filter_changes(subscribed: socket.socket) -> Iterator[str]:
    for message in _waiting(subscribed):
        if message is None or message[0] == _NFT_MSG_NEWGEN:
            yield "nftables rules were changed"


def _open(protocol: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    return socket.socket(socket.AF_NETLINK, kind, protocol)


def _subscribed(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    opened = _open(protocol)
    try:
        opened.bind((0, 0))
        for group in groups:
            opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


# Yield the messages that wait, and then None if there were more: the kernel dropped
# some as nobody read them in time, or there are too many.
def _waiting(subscribed: socket.socket) -> Iterator[tuple[int, int, bytes] | None]:
    for _ in range(_MAX_MESSAGES):
        try:
            data = subscribed.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            break
        yield from _messages(data)
    yield None


def _dumped(what: int) -> Iterator[bytes]:
    with _open(_NETLINK_ROUTE) as asked:
        asked.settimeout(1)
        body = bytes(_LINK.size)
        asked.sendto(
            _HEADER.pack(_HEADER.size + len(body), what, _DUMP, 0, 0) + body, (0, 0)
        )
        while True:
            for kind, _, answer in _messages(asked.recv(1 << 16)):
                if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                    return
                yield _key(what, answer)


# What identifies a device (its index) or an address (index, prefix length, address).
def _key(what: int, body: bytes) -> bytes:
    if what == _RTM_GETLINK:
        _, _, index, _, _ = _LINK.unpack_from(body)
        return struct.pack("=i", index)
    _, prefix, _, _, index = _ADDRESS.unpack_from(body)
    return struct.pack("=iB", index, prefix) + _local_address(body[_ADDRESS.size :])


# IFA_LOCAL (2), or else IFA_ADDRESS (1), which on a point-to-point link is the peer's.
def _local_address(attributes: bytes) -> bytes:
    found = _attributes(attributes)
    return found.get(2) or found.get(1) or b""


def _attributes(attributes: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    place = 0
    while place + _ATTRIBUTE.size <= len(attributes):
        size, kind = _ATTRIBUTE.unpack_from(attributes, place)
        if size < _ATTRIBUTE.size:
            break
        found[kind] = attributes[place + _ATTRIBUTE.size : place + size]
        place += size + 3 & ~3
    return found


# Whether the kernel made this change by itself: IPv6 autoconfiguration, redirects, and
# the routes that belong to an address. A netlink request of a user can carry the same
# mark, but then names the port that asked; a change by ioctl(2) has neither.
def _is_the_kernels(kind: int, body: bytes) -> bool:
    if kind in _RTM_ROUTES:
        return body[_PROTOCOL_AT] in _KERNELS_ROUTES
    if kind in {_RTM_NEWADDR, _RTM_DELADDR}:
        made_by = _attributes(body[_ADDRESS.size :]).get(_IFA_PROTO)
        return made_by in _KERNELS_ADDRESSES
    return False


def _shown(key: bytes) -> str:
    try:
        return str(ipaddress.ip_address(key[5:]))
    except ValueError:
        return "of a device"


# Split `data` into messages: (type, netlink port of who asked for the change, body).
# The port is 0 for the kernel and for ioctl(2).
def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    place = 0
    while place + _HEADER.size <= len(data):
        size, kind, _, _, asker = _HEADER.unpack_from(data, place)
        if size < _HEADER.size:
            return
        yield kind, asker, data[place + _HEADER.size : place + size]
        place += size + 3 & ~3
