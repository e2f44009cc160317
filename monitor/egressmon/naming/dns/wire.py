"""Read the names and records of a DNS message (RFC 1035) in bounded steps.

Hostile messages must not take long: a name has at most 255 bytes, is read only once for
each place in a message, and a compression pointer must lead backwards. What all names
have together is bounded, too.
"""

import struct
from typing import NamedTuple, TypeAlias

from egressmon.policy.language.names import canonical

_MAX_NAME = 254  # without the root's label (RFC 1035 section 2.3.4)
_MAX_STEPS = 160  # 127 labels, and some pointers
_MAX_LABELS = 4096  # of a message: 64 answers in ip6.arpa have a half of that
_POINTER = 0xC0
_HEADER = 12  # bytes
_LABEL = 0x40
_RECORD = struct.Struct("!HHIH")
_SPECIAL = '"().;\\@$'
# Escaped as dnspython and BIND do: \. and \032.
_ESCAPES = {
    **{byte: f"\\{byte:03d}" for byte in range(256) if not 0x20 < byte < 0x7F},
    **{ord(character): f"\\{character}" for character in _SPECIAL},
}


class MessageError(ValueError):
    """The bytes are no DNS message with exactly one question."""


class Resource(NamedTuple):
    """A resource record; its data are at the offsets from `start` to `stop`."""

    owner: str
    """In canonical form."""
    kind: int
    family: int
    """Its class: 1 is IN."""
    ttl: int
    start: int
    stop: int


# A name as text, where it ends, its labels, and its bytes without pointers and the
# root's label.
_Name: TypeAlias = tuple[str, int, list[str], int]


class Wire:
    """The bytes of one message."""

    __slots__ = ("_labels", "_names", "data", "has_name_in_header")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.has_name_in_header = False
        """Whether a name that was read goes on in the message's header."""
        self._names: dict[int, _Name] = {}
        self._labels = 0

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
            self._labels += len(known[2])
            if self._labels > _MAX_LABELS:
                raise MessageError("its names have too many labels")
        return known[0], known[1]

    def _read_name(self, at: int) -> _Name:
        data = self.data
        labels: list[str] = []
        end, size, limit = 0, 0, at
        for _ in range(_MAX_STEPS):
            length = data[at]
            if length == 0:
                return ".".join(labels), end or at + 1, labels, size
            if length >= _POINTER:
                end = end or at + 2
                at = limit = self._target(at, limit)
                if known := self._names.get(at):
                    return self._continued(labels, end, size, known)
                continue
            if length >= _LABEL:
                raise MessageError("a name has a label of an unknown type")
            label = data[at + 1 : at + 1 + length]
            size += length + 1
            if len(label) != length or size > _MAX_NAME:
                raise MessageError("a name is too long")
            text = label.decode("latin-1")
            labels.append(text if label.isalnum() else text.translate(_ESCAPES))
            at += length + 1
        raise MessageError("a name has too many pointers")

    # Where the pointer at the offset `at` leads to.
    def _target(self, at: int, limit: int) -> int:
        target = (self.data[at] - _POINTER) << 8 | self.data[at + 1]
        if target >= limit:
            raise MessageError("a name's pointer does not lead back")
        if target < _HEADER:
            self.has_name_in_header = True
        return target

    def _continued(self, labels: list[str], end: int, size: int, by: _Name) -> _Name:
        size += by[3]
        if size > _MAX_NAME:
            raise MessageError("a name is too long")
        labels += by[2]
        return ".".join(labels), end, labels, size

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
        return Resource(canonical(owner), kind, family, ttl, start, start + size)
