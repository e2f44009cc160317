"""Read the running kernel's BTF: types, and offsets of structure fields.

Format: Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_MEMBER = struct.Struct("=III")
_STRUCT, _UNION = 4, 5
_KIND_FLAG = 1 << 31
# How many bytes follow a kind's btf_type: in all, or for each element.
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_LAST_KIND = 19
_KIND_AT = 7 if sys.byteorder == "little" else 4
_MAX_DEPTH = 8
_UNREADABLE = "the kernel's BTF cannot be read"


class BtfError(ValueError):
    """The data is not BTF, or lacks what was asked for."""


class Btf:
    """The types that one file of BTF describes."""

    def __init__(self, data: bytes) -> None:
        """Index `data`, the content of /sys/kernel/btf/vmlinux; raises BtfError."""
        self._data = data
        self._places: array[int] = array(
            "I", [0]
        )  # [type id]: the offset of its btf_type
        try:
            self._index()
        except (struct.error, IndexError) as error:
            raise BtfError(_UNREADABLE) from error

    def _index(self) -> None:
        data = self._data
        magic, version, _, size, types, types_size, texts, texts_size = (
            _HEADER.unpack_from(data)
        )
        if magic != _MAGIC or version != 1:
            raise BtfError("the kernel's BTF is of an unknown version")
        place, end = size + types, size + types + types_size
        self._texts = data[size + texts : size + texts + texts_size]
        named: dict[int, int] = {}  # offset of a struct's name: offset of the struct
        unpack = _TYPE.unpack_from
        while place < end:
            self._places.append(place)
            name, info, _ = unpack(data, place)
            kind = info >> 24 & 0x1F
            if not 0 < kind <= _LAST_KIND:
                raise BtfError(f"the kernel's BTF has a type of unknown kind {kind}")
            if kind == _STRUCT and name:
                named.setdefault(name, place)
            place += _TYPE.size + _FIXED.get(kind, 0)
            place += _EACH.get(kind, 0) * (info & 0xFFFF)
        self._named = {self.text(name): at for name, at in named.items()}

    def of_kinds(self, kinds: Iterable[int]) -> Iterator[int]:
        """Yield the numbers of all types of `kinds` (BTF_KIND_)."""
        wanted = frozenset(kinds)
        data = self._data
        for number, place in enumerate(self._places):
            # The kind is the low bits of the highest byte of `info`.
            if number and data[place + _KIND_AT] & 0x1F in wanted:
                yield number

    def kind(self, number: int) -> int:
        """Return the kind of a type, by its number."""
        return self.info(number) >> 24 & 0x1F

    def info(self, number: int) -> int:
        """Return `info` of a type's btf_type: its kind, and how many parts it has."""
        return int(_TYPE.unpack_from(self._data, self._places[number])[1])

    def size_or_type(self, number: int) -> int:
        """Return the size of a type, or the number of the type that it refers to."""
        return int(_TYPE.unpack_from(self._data, self._places[number])[2])

    def name(self, number: int) -> str:
        """Return the name of a type; "" if it has none."""
        return self.text(_TYPE.unpack_from(self._data, self._places[number])[0])

    def tail(self, number: int, size: int) -> bytes:
        """Return `size` bytes behind a type's btf_type."""
        place = self._places[number] + _TYPE.size
        return self._data[place : place + size]

    def names(self, text: str) -> bool:
        """Tell whether any type, field or constant of the kernel is called `text`."""
        return b"\0" + text.encode() + b"\0" in self._texts

    def offsets(self, fields: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Return the byte offset of each (struct, field) pair; raises BtfError."""
        try:
            return {
                (owner, field): self._offset(owner, field) for owner, field in fields
            }
        except (struct.error, IndexError) as error:
            raise BtfError(_UNREADABLE) from error

    def size(self, name: str) -> int:
        """Return the size of the struct `name` in bytes; raises BtfError."""
        return int(_TYPE.unpack_from(self._data, self._place(name))[2])

    def _place(self, name: str) -> int:
        place = self._named.get(name)
        if place is None:
            raise BtfError(f"the kernel's BTF has no struct {name}")
        return place

    def _offset(self, owner: str, field: str) -> int:
        place = self._place(owner)
        for name_, bits in self._members(place, 0, 0):
            if name_ == field:
                return bits // 8
        raise BtfError(f"the kernel's struct {owner} has no field {field}")

    # Yields (name, offset in bits) of each member, also those inside unnamed members.
    def _members(self, place: int, base: int, depth: int) -> Iterator[tuple[str, int]]:
        _, info, _ = _TYPE.unpack_from(self._data, place)
        if info >> 24 & 0x1F not in (_STRUCT, _UNION) or depth > _MAX_DEPTH:
            return
        for number in range(info & 0xFFFF):
            where = place + _TYPE.size + number * _MEMBER.size
            name, kind, bits = _MEMBER.unpack_from(self._data, where)
            if info & _KIND_FLAG:
                bits &= 0xFFFFFF
            if name:
                yield self.text(name), base + bits
            else:
                inner = self._places[int(kind)]
                yield from self._members(inner, base + bits, depth + 1)

    def text(self, offset: int) -> str:
        """Return the text at `offset` among the texts."""
        end = self._texts.find(b"\0", offset)
        return self._texts[offset:end].decode(errors="replace")
