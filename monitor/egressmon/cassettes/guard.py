"""Refuse the network to this Python process, by an audit hook (PEP 578).

A convenience that names the test at once. It is code in the process that it guards:
what calls the kernel without Python's sockets (C extensions, child processes) passes it
by, and a test can disarm it. What counts is `egressmon watch`.
"""

import ipaddress
import os
import sys
from collections.abc import Callable
from typing import cast

from egressmon.sanitise.words.destinations import told

_RESOLVING = frozenset(
    {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
)
_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_DNS = 53
_OWN = os.uname().nodename.lower()


class NetworkReachedError(RuntimeError):
    """A test asked for the network while only recordings are played."""


class Guard:
    """Refuses and tells; `reached` gets each destination as it is refused."""

    def __init__(self, reached: Callable[[str], None], *, loopback: bool) -> None:
        self.is_on = False
        self._reached = reached
        self._loopback = loopback
        self._is_installed = False

    def start(self) -> None:
        """Refuse from now on. The hook stays for ever (PEP 578), and is off then."""
        self.is_on = True
        if not self._is_installed:
            self._is_installed = True
            sys.addaudithook(self._hook)

    def stop(self) -> None:
        """Refuse nothing more."""
        self.is_on = False

    # Called for each audited event of the process: imports, opened files, ...
    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on or not event.startswith("socket."):
            return
        found = self._where(event, arguments)
        if found is not None:
            where = told(found)  # a log gets to see it
            self._reached(where)
            raise NetworkReachedError(
                f"{where}: the network is not to be reached while cassettes are played "
                "(--egress-cassettes)"
            )

    def _where(self, event: str, arguments: tuple[object, ...]) -> str | None:
        if event in _RESOLVING and arguments:
            return self._name(arguments[0], is_reverse=event == "socket.gethostbyaddr")
        if event in _SENDING and len(arguments) > 1:
            return self._address(arguments[1])
        return None

    def _name(self, name: object, *, is_reverse: bool) -> str | None:
        text = _text(name)
        if text is None or self._is_local(text):
            return None
        # An address is only asked for the other way round.
        return None if _ip(text) and not is_reverse else f"look-up of {text}"

    # A path is that of a UNIX socket; None is what sendto() has on a connected one.
    def _address(self, address: object) -> str | None:
        if not isinstance(address, tuple) or len(cast("tuple[object]", address)) < 2:
            return None
        host, port = cast("tuple[object, object]", address)[:2]
        text = _text(host)
        # A resolver on this machine (systemd-resolved, dnsmasq) asks others.
        if text is None or (self._is_local(text) and port != _DNS):
            return None
        return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"

    def _is_local(self, host: str) -> bool:
        if not self._loopback:
            return False
        small = host.rstrip(".").lower()
        # An empty name is any address of this machine; RFC 6761 has the others.
        if small in {"", "localhost", _OWN} or small.endswith(".localhost"):
            return True
        found = _ip(small)
        if found is None:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        # To connect to 0.0.0.0 or :: is to connect to this machine.
        return found.is_loopback or found.is_unspecified


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _text(host: object) -> str | None:
    if isinstance(host, bytes | bytearray):
        return bytes(host).decode("ascii", "replace")
    return host if isinstance(host, str) else None
