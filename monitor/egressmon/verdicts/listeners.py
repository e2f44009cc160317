"""Ask the kernel whose sockets receive at an address of this machine (sock_diag(7))."""

import ipaddress
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from egressmon.events.model import Address
from egressmon.policy.judging.questions import Listener
from egressmon.values import dataclass
from egressmon.verdicts import sock_diag

_TCP_LISTEN = 1 << 10  # include/net/tcp_states.h
_ANY_STATE = 0xFFF
# include/uapi/linux/inet_diag.h
_REQUEST = struct.Struct("=BBBxI2s46x")
_MESSAGE = struct.Struct("=4x2s2s16s16s12x20x")
_SKV6ONLY, _CGROUP_ID = 11, 21
_PATIENCE_S = 1.0
_MOST_S = 5.0
"""The time that one run may spend asking at once; then, answers are `unknown`."""
_SHARE = 0.01
"""The part of a long run's time that it may spend so besides."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket that is bound to the port asked for."""

    address: Address
    peer_port: int
    """0 unless the socket is connected."""
    only_v6: bool
    cgroup: int | None
    """The id of its cgroup, which is the inode number of the cgroup's folder."""


class Listeners:
    """Tells whose sockets receive at an address of this machine, by their cgroups.

    It sees only the agent's own network namespace.
    """

    def __init__(self, scope: Path | None) -> None:
        """`scope` is the folder of the scope's cgroup; None: all of the machine."""
        self._scope = scope
        self._spent_s = 0.0
        self._since_s = time.monotonic()
        self._socket: socket.socket | None = None

    def who(self, address: Address, port: int, protocol: int) -> Listener:
        """Return who receives at `address` and `port`, by IP `protocol` number.

        It is `outside` as soon as one of several sockets is outside the scope.
        """
        began = time.monotonic()
        if self._spent_s > _MOST_S + _SHARE * (began - self._since_s):
            return "unknown"
        try:
            found = list(self._receivers(address, port, protocol))
        except (OSError, ValueError, struct.error):
            self.close()  # the rest of this answer must not be read as the next one
            return "unknown"
        finally:
            self._spent_s += time.monotonic() - began
        return self._owner(found)

    @property
    def is_machine(self) -> bool:
        """Whether whoever receives on this machine is in the scope."""
        return self._scope is None

    def _owner(self, found: list[Bound]) -> Listener:
        if not found:
            return "nobody"
        if self._scope is None:
            return "scope"
        cgroups = {one.cgroup for one in found}
        if None in cgroups:
            return "unknown"
        return "scope" if cgroups <= self._cgroup_ids() else "outside"

    def _receivers(self, address: Address, port: int, protocol: int) -> Iterator[Bound]:
        states = _TCP_LISTEN if protocol == socket.IPPROTO_TCP else _ANY_STATE
        families = [socket.AF_INET6]
        if address.version == 4:
            families.append(socket.AF_INET)
        for family in families:
            for bound in self._dump(family, protocol, states, port):
                if not bound.peer_port and _receives(bound, address):
                    yield bound

    def _dump(
        self, family: int, protocol: int, states: int, port: int
    ) -> Iterator[Bound]:
        if self._socket is None:
            self._socket = sock_diag.connect(_PATIENCE_S)
        request = _REQUEST.pack(
            family, protocol, 0, states, port.to_bytes(2, "big")
        )  # the kernel leaves out sockets at other ports
        for body in sock_diag.dump(self._socket, request):
            yield _bound(family, body)

    def _cgroup_ids(self) -> set[int]:
        if self._scope is None:
            return set()
        try:
            folders = [self._scope, *self._scope.glob("**/")]
            return {os.stat(folder).st_ino for folder in folders}  # noqa: PTH116 -- ids
        except OSError:
            return set()

    def close(self) -> None:
        """Close the netlink socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _bound(family: int, body: bytes) -> Bound:
    _, peer_port, source, _ = _MESSAGE.unpack_from(body)
    attributes = dict(sock_diag.attributes(body[_MESSAGE.size :]))
    address = ipaddress.ip_address(source if family == socket.AF_INET6 else source[:4])
    cgroup = attributes.get(_CGROUP_ID)
    return Bound(
        address=getattr(address, "ipv4_mapped", None) or address,
        peer_port=int.from_bytes(peer_port, "big"),
        only_v6=attributes.get(_SKV6ONLY, b"\0")[:1] != b"\0",
        cgroup=struct.unpack("=Q", cgroup)[0] if cgroup is not None else None,
    )


def _receives(bound: Bound, address: Address) -> bool:
    if not bound.address.is_unspecified:
        return bound.address == address or address.is_unspecified
    return bound.address.version == address.version or not bound.only_v6
