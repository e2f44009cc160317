"""At which of this machine's addresses root serves DNS, for containers to ask.

So podman's server (aardvark-dns) answers on the bridge of each network: a container
that ended before its resolv.conf was read asked nobody else. Whether the answers are
believed is told by who gives them: `dns/servers.py`.
"""

import ipaddress
import struct
import time
from collections.abc import Callable
from pathlib import Path

from egressmon.events.model import Address

_SOCKETS = Path("/proc/net/udp")
_MAX_BYTES = 1 << 20
_MAX_SERVED = 64
_EVERY_S = 0.05
_DNS_PORT = "0035"


def _sockets() -> str:
    with _SOCKETS.open("rb") as file:
        return file.read(_MAX_BYTES).decode("ascii", "replace")


class Served:
    """Remembers the addresses: a server may be gone once its network is."""

    def __init__(self, read: Callable[[], str] = _sockets) -> None:
        """`read` returns the text of /proc/net/udp, of the agent's network."""
        self._read = read
        self._known: dict[Address, None] = {}
        self._next = 0.0

    def look(self) -> None:
        """Look who serves now, if that was long ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        for address in served_addresses(self._read):
            if len(self._known) < _MAX_SERVED:
                self._known[address] = None

    def addresses(self) -> tuple[Address, ...]:
        """Return the addresses that were served in this run, or are."""
        self.look()
        return tuple(self._known)


def served_addresses(read: Callable[[], str] = _sockets) -> tuple[Address, ...]:
    """Return the IPv4 addresses at which a program of root's serves DNS now.

    Those to which a UDP socket is bound, and no others.
    """
    try:
        lines = read().splitlines()[1:]
    except OSError:
        return ()
    found = set[Address]()
    for line in lines:
        words = line.split()
        if len(words) < 8 or words[7] != "0":
            continue
        number, _, port = words[1].partition(":")
        if port == _DNS_PORT and len(found) < _MAX_SERVED:
            found.add(ipaddress.ip_address(struct.pack("=I", int(number, 16))))
    return tuple(
        sorted(one for one in found if not (one.is_loopback or one.is_unspecified))
    )
