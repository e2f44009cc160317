"""A thin wrap of name resolution, by which addresses get the names that led to them.

`socket.connect((name, port))` resolves in C before its audit event: a look-up of any
name would leave. So the class `socket.socket` has it looked up by getaddrinfo first,
whose event is before the look-up. The refusal itself does not hang on this: where
somebody takes the wrap off, addresses have no names, and are refused.
"""

from __future__ import annotations  # nothing is imported for them

import _socket
import sys

from egressmon.guard.state import STATE
from egressmon.guard.violation import EgressViolation

TYPE_CHECKING = False  # as `typing` has it, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FAMILY: Any = _socket.socket.family.__get__  # of C, whatever a subclass says
_MARK = "_egressmon_guard"
_IN_C = ("", b"", "<broadcast>", b"<broadcast>")
_IP = (_socket.AF_INET, _socket.AF_INET6)


def wrap() -> None:
    """Learn from now on what this process looks up."""
    socket = sys.modules.get("socket")
    for name, answers in (
        ("getaddrinfo", _of_getaddrinfo),
        ("gethostbyname", _of_gethostbyname),
        ("gethostbyname_ex", _of_gethostbyname_ex),
    ):
        inner = getattr(_socket, name)
        outer = _learning(inner, answers)
        setattr(_socket, name, outer)
        # `socket` has the names of `_socket`, but a getaddrinfo of its own.
        if socket is not None and getattr(socket, name, None) is inner:
            setattr(socket, name, outer)
    wrap_class()


def _learning(inner: Any, answers: Callable[[Any], Any]) -> Callable[..., Any]:
    def resolve(*arguments: Any, **named: Any) -> Any:
        found = inner(*arguments, **named)
        try:
            host = arguments[0] if arguments else named.get("host")
            name = _name(host)
            for address in answers(found) if name else ():
                STATE.known.learn(name, address.partition("%")[0])
        except Exception:  # noqa: BLE001, S110 -- what is not learned is refused later
            pass
        return found

    resolve.__name__ = resolve.__qualname__ = inner.__name__
    resolve.__doc__ = inner.__doc__
    return resolve


def _of_getaddrinfo(found: Any) -> list[str]:
    return [one[4][0] for one in found if one[0] in _IP]


def _of_gethostbyname(found: Any) -> list[str]:
    return [found]


def _of_gethostbyname_ex(found: Any) -> list[str]:
    return list(found[2])


# As the resolver is asked: CPython encodes names by IDNA 2003. An address is no name.
def _name(host: object) -> str:
    if isinstance(host, str):
        host = str.__str__(host).encode("idna")
    if not isinstance(host, bytes | bytearray):
        return ""
    name = bytes(host).decode("ascii").lower().rstrip(".")
    last = name.rpartition(".")[2]
    return "" if ":" in name or last.isdecimal() or last.startswith("0x") else name


def wrap_class() -> None:
    """Have `socket.socket`, once it is there, resolve names before it uses them."""
    module = sys.modules.get("socket")
    cls: Any = getattr(module, "socket", None)
    if cls is None or _MARK in vars(cls) or not issubclass(cls, _socket.socket):
        return
    try:
        setattr(cls, _MARK, True)
        for name, place in (("connect", 0), ("bind", 0), ("sendto", -1)):
            setattr(cls, name, _resolved_first(getattr(cls, name), place))
        cls.connect_ex = _returning(_resolved_first(cls.connect_ex, 0))
        cls.sendmsg = _resolved_first(cls.sendmsg, 3)
    except TypeError:
        pass  # a class of somebody else's that cannot be changed


def _resolved_first(inner: Any, place: int) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        if len(arguments) > place and arguments:
            address = _resolved(self, arguments[place])
            if address is not arguments[place]:
                changed = list(arguments)
                changed[place] = address
                return inner(self, *changed)
        return inner(self, *arguments)

    method.__name__, method.__doc__ = inner.__name__, inner.__doc__
    method.__qualname__ = f"socket.{inner.__name__}"
    return method


# connect_ex() returns an error that connect() raises.
def _returning(inner: Callable[..., Any]) -> Callable[..., Any]:
    def connect_ex(self: Any, address: Any) -> Any:
        try:
            return inner(self, address)
        except EgressViolation as violation:
            return violation.errno

    return connect_ex


# Return the socket address with its host as an address in the one usual spelling. Of
# several, the first is taken, as CPython itself does.
def _resolved(self: Any, address: Any) -> Any:
    family: int = _FAMILY(self)
    if family not in _IP or not issubclass(type(address), tuple) or not STATE.sources:
        return address
    whole: tuple[Any, ...] = address
    host, *rest = whole or ("",)
    if not isinstance(host, str | bytes | bytearray) or host in _IN_C:
        return address
    if isinstance(host, str) and _is_plain(family, host):
        return address
    look_up: Any = _socket.getaddrinfo  # takes a bytearray, too
    found = look_up(host, None, family)[0][4]
    return (found[0], *rest)


def _is_plain(family: int, host: str) -> bool:
    try:
        packed = _socket.inet_pton(family, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return family == _socket.AF_INET6 or _socket.inet_ntop(family, packed) == host
