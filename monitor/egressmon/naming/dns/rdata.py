"""Read the data of DNS records: as text in the form of zone files, or as addresses."""

import ipaddress
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6, inet_ntop

from egressmon.events.model import Address
from egressmon.naming.dns.wire import MessageError, Resource, Wire

A, AAAA, CNAME, DNAME, OPT = 1, 28, 5, 39, 41
SVCB, HTTPS = 64, 65
MAX_TEXT = 255
_MAX_PARAMETERS = 64
_MAX_HINTS = 64
_PARAMETERS = {
    0: "mandatory",
    1: "alpn",
    2: "no-default-alpn",
    3: "port",
    4: "ipv4hint",
    5: "ech",
    6: "ipv6hint",
    7: "dohpath",
    8: "ohttp",
    10: "docpath",
}
_ESCAPES = {
    **{byte: f"\\{byte:03d}" for byte in range(256) if not 0x20 <= byte < 0x7F},
    **{ord(character): f"\\{character}" for character in '"\\'},
}
_SIZES = {4: 4, 6: 16}  # bytes of an address in ipv4hint and in ipv6hint


def text(wire: Wire, record: Resource) -> str:
    """Return the data of `record` in `wire` as text, at most 255 characters.

    Unknown record types are written in the form of RFC 3597. Raises MessageError if the
    data do not fit the record's type.
    """
    write = _WRITERS.get(record.kind, _generic)
    try:
        return write(wire, record)[:MAX_TEXT]
    except (struct.error, IndexError, OSError, ValueError) as error:
        raise MessageError(f"a record's data are not of its kind: {error}") from None


def addresses(wire: Wire, record: Resource) -> Iterator[Address]:
    """Yield the addresses in an A or AAAA `record`, or the hints of SVCB or HTTPS."""
    data = wire.data[record.start : record.stop]
    if record.kind in {A, AAAA}:
        yield ipaddress.ip_address(data)
    elif record.kind in {SVCB, HTTPS}:
        for key, value in _parameters(wire, record):
            step = _SIZES.get(key)
            if step is not None and len(value) % step == 0:
                for at in range(0, len(value), step):
                    yield ipaddress.ip_address(value[at : at + step])


def target(wire: Wire, record: Resource) -> str:
    """Return the name that a CNAME or DNAME `record` leads to."""
    return _name(wire, record.start, record.stop)


def _name(wire: Wire, at: int, stop: int) -> str:
    name, end = wire.name(at)
    if end != stop:
        raise MessageError("a record's name and its size differ")
    return name


def _inet(wire: Wire, record: Resource) -> str:
    return inet_ntop(AF_INET, wire.data[record.start : record.stop])


def _inet6(wire: Wire, record: Resource) -> str:
    return inet_ntop(AF_INET6, wire.data[record.start : record.stop])


def _one_name(wire: Wire, record: Resource) -> str:
    return _name(wire, record.start, record.stop) + "."


# For records of `count` numbers of 16 bits and a name: MX, SRV and others.
def _numbers_and_name(count: int) -> Callable[[Wire, Resource], str]:
    layout = struct.Struct(f"!{count}H")

    def write(wire: Wire, record: Resource) -> str:
        numbers = layout.unpack_from(wire.data, record.start)
        name = _name(wire, record.start + layout.size, record.stop)
        return " ".join([*map(str, numbers), name + "."])

    return write


def _authority(wire: Wire, record: Resource) -> str:
    server, at = wire.name(record.start)
    mailbox, at = wire.name(at)
    if at + 20 != record.stop:
        raise MessageError("a SOA record's size is odd")
    numbers = struct.unpack_from("!5I", wire.data, at)
    return " ".join([server + ".", mailbox + ".", *map(str, numbers)])


def _strings(wire: Wire, record: Resource) -> str:
    parts: list[str] = []
    at, size = record.start, 0
    while at < record.stop and size < MAX_TEXT:
        end = at + 1 + wire.data[at]
        if end > record.stop:
            raise MessageError("a string runs over its record's end")
        parts.append(_quoted(wire.data[at + 1 : end]))
        size += len(parts[-1])
        at = end
    if not parts:
        raise MessageError("a record of strings has none")
    return " ".join(parts)


def _quoted(data: bytes) -> str:
    text = data[:MAX_TEXT].decode("latin-1")
    return f'"{text if data.isalnum() else text.translate(_ESCAPES)}"'


# Yield (key, value) of the parameters of SVCB and HTTPS: RFC 9460 section 2.2.
def _parameters(wire: Wire, record: Resource) -> Iterator[tuple[int, bytes]]:
    _, at = wire.name(record.start + 2)
    for _ in range(_MAX_PARAMETERS):
        if at >= record.stop:
            return
        key, size = struct.unpack_from("!HH", wire.data, at)
        at += 4 + size
        if at > record.stop:
            raise MessageError("a parameter runs over its record's end")
        yield key, wire.data[at - size : at]


def _service(wire: Wire, record: Resource) -> str:
    (priority,) = struct.unpack_from("!H", wire.data, record.start)
    name, _ = wire.name(record.start + 2)
    written = f"{priority} {name}."
    for key, value in _parameters(wire, record):
        if len(written) < MAX_TEXT:  # what is beyond would be cut
            label = _PARAMETERS.get(key) or f"key{key}"
            written += f" {label}={_value(key, value)}" if value else f" {label}"
    return written


def _value(key: int, value: bytes) -> str:
    if key == 0:
        keys = [key for (key,) in struct.iter_unpack("!H", value[: MAX_TEXT - 1])]
        return '"' + ",".join(_PARAMETERS.get(one) or f"key{one}" for one in keys) + '"'
    if key == 3 and len(value) == 2:
        return f'"{int.from_bytes(value, "big")}"'
    if key in _SIZES:
        family, step = (AF_INET, 4) if key == 4 else (AF_INET6, 16)
        starts = range(0, min(len(value), _MAX_HINTS * step), step)
        hints = [inet_ntop(family, value[at : at + step]) for at in starts]
        return '"' + ",".join(hints) + '"'
    if key == 5:
        return '"' + b64encode(value[:MAX_TEXT]).decode() + '"'
    if key in {1, 10}:
        items = _counted(value[:MAX_TEXT])
        has_marks = b"," in value or b"\\" in value
        value = b",".join(map(_listed, items) if has_marks else items)
    return _quoted(value)


def _counted(value: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(value):
        end = at + 1 + value[at]
        yield value[at + 1 : end]
        at = end


# Commas separate the values of a list, so one inside a value is escaped.
def _listed(value: bytes) -> bytes:
    return value.replace(b"\\", b"\\\\").replace(b",", b"\\,")


def _generic(wire: Wire, record: Resource) -> str:
    data = wire.data[record.start : record.stop]
    return rf"\# {len(data)} {data[:MAX_TEXT].hex()}".rstrip()


_WRITERS: dict[int, Callable[[Wire, Resource], str]] = {
    A: _inet,
    AAAA: _inet6,
    **dict.fromkeys((2, CNAME, 12, DNAME), _one_name),
    6: _authority,
    **dict.fromkeys((15, 18, 36), _numbers_and_name(1)),
    **dict.fromkeys((16, 99), _strings),
    33: _numbers_and_name(3),
    **dict.fromkeys((SVCB, HTTPS), _service),
}
