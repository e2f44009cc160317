"""Read an audit event: which destination is asked for, if any outside this process."""

import _socket
import ipaddress
import socket
from typing import Any, Literal, TypeAlias, cast

from egressmon.guard.destinations import Address, plain
from egressmon.guard.violation import EgressViolation
from egressmon.policy.language.names import canonical, ends_in_number
from egressmon.values import dataclass

_AMBIGUOUS = "this spelling of an address is ambiguous"

Kind: TypeAlias = Literal["connect", "send", "lookup", "pointer"]

_RESOLVING = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_TRANSPORTS = {6: "tcp", 17: "udp", 132: "sctp", 262: "tcp", 1: "icmp", 58: "icmp"}
_TYPES = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
# What is sent there reaches this machine's processes, or its kernel.
_LOCAL = frozenset(
    getattr(socket, name)
    for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG")
    if hasattr(socket, name)
)
_PACKETS = getattr(socket, "AF_PACKET", None)
# Of the C type: whatever a subclass says of itself, or gevent puts in its place.
_field = cast("Any", _socket.socket)
_item = cast("Any", tuple).__getitem__


@dataclass(frozen=True, slots=True)
class Attempt:
    """A destination that is asked for, before anything leaves."""

    kind: Kind
    host: str
    """As it was asked for: a name in canonical form, or an address."""
    address: Address | None
    """None: it is not known yet."""
    port: int | None
    protocol: str


def attempt_of(event: str, arguments: tuple[object, ...]) -> Attempt | None:
    """Return what `event` asks for; None: nothing that leaves this machine's kernel.

    Raises EgressViolation for what no policy can speak of.
    """
    if event in _RESOLVING:
        return _look_up(arguments[0])
    if event == "socket.gethostbyaddr":
        return _pointer(arguments[0]) or _look_up(arguments[0])
    if event == "socket.getnameinfo":
        address = arguments[0]
        host = cast("Any", address)[0] if isinstance(address, tuple) else None
        return _pointer(host)
    if len(arguments) < 2 or arguments[1] is None:
        return None  # sendmsg() on a socket that was connected, and judged then
    kind: Kind = "connect" if event == "socket.connect" else "send"
    return _destination(kind, arguments[0], arguments[1], event == "socket.bind")


def _look_up(host: object) -> Attempt | None:
    if host is None or host in ("", b"", "<broadcast>", b"<broadcast>"):
        return None
    name = _asked(host)
    if _address(name) is not None or _is_spelt_otherwise(name):
        return None  # nobody is asked; the address itself is judged when it is used
    return Attempt("lookup", name, None, None, "dns")


def _pointer(host: object) -> Attempt | None:
    if host is None:
        return None
    name = _asked(host)
    address = _address(name)
    if address is None:
        if _is_spelt_otherwise(name):
            raise EgressViolation(name, None, _AMBIGUOUS)
        return None
    return Attempt("pointer", str(address), address, None, "dns")


def _destination(kind: Kind, sock: Any, address: Any, is_bind: bool) -> Attempt | None:  # noqa: FBT001 -- of the event
    family = _field.family.__get__(sock)
    if family in _LOCAL:
        return None
    if family not in (socket.AF_INET, socket.AF_INET6):
        if is_bind and family != _PACKETS:
            return None  # what is sent there is seen by itself
        raise EgressViolation(
            None, None, f"no policy speaks of address family {_family_name(family)}"
        )
    if is_bind or not isinstance(address, tuple):
        return None  # CPython refuses it itself
    host, port = host_and_port(address)
    if host in ("<broadcast>", b"<broadcast>"):
        host = "255.255.255.255"
    name = _asked(host) or ("0.0.0.0" if family == socket.AF_INET else "::")  # noqa: S104 -- what it means
    found = _address(name)
    if found is None and (ends_in_number(name.strip().rstrip(".")) or "%" in name):
        raise EgressViolation(name, port, _AMBIGUOUS)
    protocol = _protocol(sock)
    is_portless = protocol not in {"tcp", "udp", "sctp"}
    host = str(found) if found is not None else name
    return Attempt(kind, host, found, None if is_portless else port, protocol)


def host_and_port(address: Any) -> tuple[Any, int]:
    """Return both, as C has them of a tuple; raises TypeError if it is none.

    Raises EgressViolation for what could be another thing when C asks it again.
    """
    host, port = _item(address, 0), _item(address, 1)
    if not isinstance(port, int):
        raise EgressViolation(None, None, "a port that is no number")
    return host, int.__add__(port, 0)


def kind_of(sock: Any) -> tuple[int, int, int]:
    """Return the family, type and protocol of a socket, as C has them."""
    family, kind = _field.family.__get__(sock), _field.type.__get__(sock)
    return family, kind, _field.proto.__get__(sock)


def _protocol(sock: Any) -> str:
    number = _field.proto.__get__(sock)
    if number:
        return _TRANSPORTS.get(number, f"ip-{number}")
    kind = _field.type.__get__(sock)
    return _TYPES.get(kind, f"type-{kind}")


# As the resolver gets it: CPython encodes names by IDNA 2003.
def _asked(host: object) -> str:
    if isinstance(host, str):
        text = str.__str__(host)
        if not text.isascii():
            text = text.encode("idna").decode("ascii")
        return _settled(text)
    if isinstance(host, bytes | bytearray):
        return _settled(bytes(host).decode("ascii", "backslashreplace"))
    raise EgressViolation(f"{host!r:.100}", None, "no host name and no address")


# A dot behind an address makes it a name that is looked up.
def _settled(text: str) -> str:
    name = canonical(text)
    return text.lower() if ends_in_number(name) else name


def _address(text: str) -> Address | None:
    try:
        return plain(ipaddress.ip_address(text))
    except ValueError:
        return None


# Whether the resolver reads it as an address and asks nobody: 127.1, 0x7f.0.0.1.
def _is_spelt_otherwise(name: str) -> bool:
    if not name.isascii() or any(one.isspace() for one in name):
        return False
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


def _family_name(family: int) -> str:
    try:
        return socket.AddressFamily(family).name
    except ValueError:
        return str(family)
