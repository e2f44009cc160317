"""Write BTF that holds only those of the kernel's types that the probes ask for.

libbpf reads and searches the kernel's 5 MB of BTF for each object that it loads: some
20 ms and 11 MB each. Of these, the probes need a few dozen structures.

A structure is taken over with all its members, so that a field is found, or missing, as
in the kernel's own. What a member's type is made of is only kept as far as libbpf looks
at it (bpf_core_fields_are_compat() in its relo_core.c): of a pointer, that it is one.
"""

import struct
from collections.abc import Iterable, Iterator

from egressmon.probes.loaders.btf import Btf, BtfError

_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_INT, _POINTER, _ARRAY, _STRUCT, _UNION, _ENUM, _FORWARD = range(1, 8)
_TRANSPARENT = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag
_FLOAT, _ENUM64 = 16, 19
_NAMED = (_STRUCT, _UNION, _ENUM, _ENUM64)
_MEMBER = struct.Struct("=III")
_VALUE, _VALUE64 = struct.Struct("=Ii"), struct.Struct("=III")
_ARRAY_OF = struct.Struct("=III")
_COUNT = 0xFFFF
_VOID = 0
_MAX_CHAIN = 32
_SECTION = b".BTF\0"


def wanted_by(image: bytes) -> set[str]:
    """Return the names of the kernel's types that a compiled object may ask for.

    Raises `BtfError` if `image` is no such object.
    """
    found = Btf(_section(image))
    names = (found.name(one) for one in found.of_kinds(_NAMED))
    # `name___flavour` stands for the kernel's type `name`: CO-RE reference guide.
    return {name.partition("___")[0] for name in names} - {""}


def excerpt(kernel: bytes, names: Iterable[str]) -> bytes:
    """Return BTF with the types called `names` of `kernel`, which is BTF, too.

    Raises `BtfError` if it cannot be read.
    """
    try:
        return _Writer(Btf(kernel), set(names)).written()
    except (struct.error, IndexError) as error:
        raise BtfError("the kernel's BTF cannot be read") from error


# The section .BTF of a 64-bit ELF file (elf(5)) of this machine's byte order.
def _section(image: bytes) -> bytes:
    try:
        (headers,) = struct.unpack_from("=Q", image, 40)
        size, count, of_names = struct.unpack_from("=HHH", image, 58)
        places = [headers + number * size for number in range(count)]
        (names,) = struct.unpack_from("=Q", image, places[of_names] + 24)
        for place in places:
            (name,) = struct.unpack_from("=I", image, place)
            if image[names + name :].startswith(_SECTION):
                start, length = struct.unpack_from("=QQ", image, place + 24)
                return image[start : start + length]
    except (struct.error, IndexError) as error:
        raise BtfError("the probes are no ELF file") from error
    raise BtfError("the probes have no BTF")


class _Writer:
    """Copies types; each gets a number as it is first met, and its content later."""

    def __init__(self, kernel: Btf, names: set[str]) -> None:
        self._kernel = kernel
        self._texts = bytearray(1)
        self._known_texts = {"": 0}
        self._numbers: dict[object, int] = {}
        self._waiting: list[tuple[int, bool]] = []
        self._whole = {
            one for one in kernel.of_kinds(_NAMED) if kernel.name(one) in names
        }
        for one in sorted(self._whole):
            self._number(one)

    def written(self) -> bytes:
        types = bytearray()
        for one, is_whole in self._contents():
            types += self._pointer() if one < 0 else self._type(one, whole=is_whole)
        sizes = (0, len(types), len(types), len(self._texts))
        return _HEADER.pack(0xEB9F, 1, 0, 24, *sizes) + types + self._texts

    # Writing one type may have others wait.
    def _contents(self) -> Iterator[tuple[int, bool]]:
        place = 0
        while place < len(self._waiting):
            yield self._waiting[place]
            place += 1

    # The number in the excerpt of the kernel's type `one`, or of what stands for it.
    def _number(self, one: int) -> int:
        one, kind = self._behind(one)
        if kind == _POINTER:
            return self._give_number("pointer", -1, whole=False)
        if kind not in {*_NAMED, _INT, _FLOAT, _ARRAY, _FORWARD}:
            return _VOID
        is_whole = one in self._whole or not self._kernel.name(one)
        return self._give_number(one, one, whole=is_whole)

    # What is behind typedefs and the like, and its kind; of no kind: void.
    def _behind(self, one: int) -> tuple[int, int]:
        for _ in range(_MAX_CHAIN):
            kind = self._kernel.kind(one) if one != _VOID else _VOID
            if kind not in _TRANSPARENT:
                return one, kind
            one = self._kernel.size_or_type(one)
        return _VOID, _VOID

    def _give_number(self, key: object, one: int, *, whole: bool) -> int:
        if key not in self._numbers:
            self._waiting.append((one, whole))
            self._numbers[key] = len(self._waiting)
        return self._numbers[key]

    def _pointer(self) -> bytes:
        return _TYPE.pack(0, _POINTER << 24, _VOID)

    def _type(self, one: int, *, whole: bool) -> bytes:
        kernel = self._kernel
        kind, name = kernel.kind(one), self._text(kernel.name(one))
        info, size = kernel.info(one), kernel.size_or_type(one)
        if kind in _NAMED:
            if not whole:
                return _TYPE.pack(name, info & ~_COUNT, size)
            return _TYPE.pack(name, info, size) + self._parts(one, kind)
        if kind == _ARRAY:
            of, index, count = _ARRAY_OF.unpack(kernel.tail(one, _ARRAY_OF.size))
            tail = _ARRAY_OF.pack(self._number(of), self._number(index), count)
            return _TYPE.pack(name, info, size) + tail
        return _TYPE.pack(name, info, size) + kernel.tail(one, 4 * (kind == _INT))

    def _parts(self, one: int, kind: int) -> bytes:
        shape = {_ENUM: _VALUE, _ENUM64: _VALUE64}.get(kind, _MEMBER)
        count = self._kernel.info(one) & _COUNT
        parts = shape.iter_unpack(self._kernel.tail(one, count * shape.size))
        if shape is _MEMBER:
            return b"".join(
                shape.pack(self._text_at(name), self._number(of), bits)
                for name, of, bits in parts
            )
        return b"".join(
            shape.pack(self._text_at(name), *value) for name, *value in parts
        )

    def _text_at(self, offset: int) -> int:
        return self._text(self._kernel.text(offset))

    def _text(self, text: str) -> int:
        if text not in self._known_texts:
            self._known_texts[text] = len(self._texts)
            self._texts += text.encode() + b"\0"
        return self._known_texts[text]
