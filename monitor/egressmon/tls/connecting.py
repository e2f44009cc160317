"""Connect to a host within a time: each address in turn, until one answers.

A proxy that the environment names is not used: the certificate would be that of what
the proxy reaches, and the way there is part of what is asked.
"""

import ipaddress
import socket
import threading
from typing import NamedTuple

from egressmon.text import printable
from egressmon.tls.targets import Target

_MAX_ADDRESSES = 8


class Reach(NamedTuple):
    """A connection, and what was tried before it; `socket` is None if there is none."""

    socket: socket.socket | None
    address: str | None
    """The address that answered."""
    failed: tuple[str, ...]
    """Each address that did not, with the reason; or why there was none."""


def reach(target: Target, timeout: float) -> Reach:
    """Connect to `target`; looking it up, and each address, takes `timeout` seconds.

    The first address that answers is taken, in the order in which the system has them
    (RFC 6724). A name that has many is tried at the first eight.
    """
    found = _looked_up(target, timeout)
    if isinstance(found, str):
        return Reach(None, None, (found,))
    failed: list[str] = []
    for address in found[:_MAX_ADDRESSES]:
        try:
            connected = _connect(address, target.port, timeout)
        except OSError as error:
            failed.append(f"{address}: {_reason(error)}")
        else:
            return Reach(connected, address, tuple(failed))
    if (more := len(found) - _MAX_ADDRESSES) > 0:
        failed.append(f"{more} more addresses were not tried")
    return Reach(None, None, tuple(failed))


def _connect(address: str, port: int, timeout: float) -> socket.socket:
    return socket.create_connection((address, port), timeout)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return printable(error.strerror or error)


# getaddrinfo(3) knows no time limit, and cannot be interrupted: a thread that is still
# in it ends with the process. IP literals need none.
def _looked_up(target: Target, timeout: float) -> list[str] | str:
    try:
        return [str(ipaddress.ip_address(target.host))]
    except ValueError:
        pass
    found: list[list[str] | str] = []
    thread = threading.Thread(
        target=lambda: found.append(_addresses(target)), daemon=True
    )
    thread.start()
    thread.join(timeout)
    return found[0] if found else "the name was not looked up in time"


def _addresses(target: Target) -> list[str] | str:
    try:
        # As bytes: text would pass the standard library's codec for IDNA 2003.
        host = target.host.encode()
        infos = socket.getaddrinfo(host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"the name has no address: {_reason(error)}"
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
