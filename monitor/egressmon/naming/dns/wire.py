"""Read the names and records of a DNS message (RFC 1035) in bounded steps.

Hostile messages must not take long: a name has at most 255 bytes, is read only once for
each place in a message, and a compression pointer must lead backwards.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

_MAX_NAME = 254  # without the root's label (RFC 1035 section 2.3.4)
_MAX_STEPS = 160  # 127 labels, and some pointers
_POINTER = 0xC0
_HEADER = 12  # bytes
_LABEL = 0x40
_RECORD = struct.Struct("!HHIH")
_SPECIAL = frozenset(b'"().;\\@$')
_PLAIN = frozenset(range(0x21, 0x7F)) - _SPECIAL


class MessageError(ValueError):
    """The bytes are no DNS message with exactly one question."""


class Resource(NamedTuple):
    """A resource record; its data are at the offsets from `start` to `stop`."""

    owner: str
    kind: int
    family: int
    """Its class: 1 is IN."""
    ttl: int
    start: int
    stop: int


# Escaped as dnspython and BIND do: \. and \032.
@lru_cache(maxsize=4096)
def _label(label: bytes) -> str:
    if _PLAIN.issuperset(label):
        return label.decode("ascii")
    return "".join(
        chr(byte)
        if byte in _PLAIN
        else ("\\" + chr(byte) if byte in _SPECIAL else f"\\{byte:03d}")
        for byte in label
    )


class Wire:
    """The bytes of one message."""

    __slots__ = ("_names", "data", "has_name_in_header")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.has_name_in_header = False
        """Whether a name that was read goes on in the message's header."""
        self._names: dict[int, tuple[str, int]] = {}

    def name(self, at: int) -> tuple[str, int]:
        """Return the name at the offset `at` as it is written, and where it ends.

        It has no final dot; the root is "". Raises MessageError.
        """
        known = self._names.get(at)
        if known is None:
            try:
                known = self._names[at] = self._read_name(at)
            except IndexError:
                raise MessageError("a name runs over the message's end") from None
        return known

    def _read_name(self, at: int) -> tuple[str, int]:
        data = self.data
        labels: list[str] = []
        end, size, limit = 0, 0, at
        for _ in range(_MAX_STEPS):
            length = data[at]
            if length == 0:
                return ".".join(labels), end or at + 1
            if length >= _POINTER:
                end = end or at + 2
                at = (length - _POINTER) << 8 | data[at + 1]
                if at >= limit:
                    raise MessageError("a name's pointer does not lead back")
                limit = at
                if at < _HEADER:
                    self.has_name_in_header = True
                continue
            if length >= _LABEL:
                raise MessageError("a name has a label of an unknown type")
            label = data[at + 1 : at + 1 + length]
            size += length + 1
            if len(label) != length or size > _MAX_NAME:
                raise MessageError("a name is too long")
            labels.append(_label(label))
            at += length + 1
        raise MessageError("a name has too many pointers")

    def resource(self, at: int) -> Resource:
        """Return the record at the offset `at`; the next one begins at its `stop`.

        Raises MessageError.
        """
        owner, at = self.name(at)
        try:
            kind, family, ttl, size = _RECORD.unpack_from(self.data, at)
        except struct.error:
            raise MessageError("a record runs over the message's end") from None
        start = at + _RECORD.size
        if start + size > len(self.data):
            raise MessageError("a record runs over the message's end")
        if ttl >= 1 << 31:
            ttl = 0  # RFC 2181 section 8
        return Resource(owner, kind, family, ttl, start, start + size)
