"""Stacks of arm64: signed return addresses, code without tables, signals."""

import base64
import os
import struct
import zlib
from pathlib import Path

import pytest

from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.unwinding.images import Images
from egressmon.attribution.native.unwinding.unwind import Unwinder
from egressmon.attribution.native.unwinding.walk import Unwound
from egressmon.probes.architecture import ARCHITECTURES
from support.arm64 import recorded

MACHINE = ARCHITECTURES["aarch64"]
WORDS = struct.Struct("<34Q")
SIGNATURE = 0x7F << 48
LOADED = 0x400000
"""Where the program says that it is loaded."""
SNAPSHOT, BARE_SNAPSHOT = 0x400388, 0x4003E0
KEEP, INNER, MIDDLE, BEGIN, START = 0x400294, 0x4002B4, 0x4002DC, 0x400308, 0x40033C
BARE_MIDDLE, BARE_OUTER, BEGIN_BARE = 0x400404, 0x400424, 0x40030C
FRAME, LINK, STACK = 29, 30, 31


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def snapshots() -> list[tuple[tuple[int, ...], bytes]]:
    """Return the registers and the stack of each time that the program wrote them."""
    data = unpacked(recorded.WRITTEN)
    found: list[tuple[tuple[int, ...], bytes]] = []
    while data:
        size = int.from_bytes(data[WORDS.size : WORDS.size + 8], "little")
        begin = WORDS.size + 8
        found.append((WORDS.unpack_from(data), data[begin : begin + size]))
        data = data[begin + size :]
    return found


TABLES, BARE = snapshots()


def mapped(path: Path, *, at: int = LOADED) -> Mapping:
    """Return the program's mapping, whose file is written to `path`."""
    path.write_bytes(unpacked(recorded.PROGRAM))
    status = path.stat()
    name = bytes(path)
    return Mapping(at, at + 0x1000, 0, name, status.st_dev, status.st_ino, 1)


def unwound(words: tuple[int, ...], stack: bytes, *mappings: Mapping) -> Unwound:
    space, images = AddressSpace(), Images(MACHINE)
    for one in mappings:
        space.add(one)
    found = Unwinder(MACHINE, images).unwind(space, os.getpid(), words, stack)
    images.close()
    return found


def hows(found: Unwound) -> list[tuple[int, str]]:
    return [(one.address, one.how) for one in found.frames]


def changed(words: tuple[int, ...], values: dict[int, int]) -> tuple[int, ...]:
    return tuple(values.get(number, word) for number, word in enumerate(words))


def test_signed_return_addresses_lead_to_the_callers(tmp_path: Path) -> None:
    words, stack = TABLES

    found = unwound(words, stack, mapped(tmp_path / "program"))

    assert found.stopped is None
    assert hows(found) == [
        (SNAPSHOT, "instruction"),
        *((one, "cfi") for one in (KEEP, INNER, MIDDLE, BEGIN, START)),
    ]
    # What the stack itself holds is signed: without the cure nothing is found in it.
    saved = [one.saved_at for one in found.frames[2:]]
    held = [struct.unpack_from("<Q", stack, at or 0)[0] for at in saved]
    assert all(word & SIGNATURE for word in held)
    assert [word & ~SIGNATURE for word in held] == [INNER, MIDDLE, BEGIN, START]


# A program may ask for addresses of 52 bits: then these are no signature.
def test_an_address_where_code_is_mapped_is_not_signed(tmp_path: Path) -> None:
    words, stack = TABLES
    above = 0x0008_0000_0000_0000
    program = mapped(tmp_path / "program")
    moved = program._replace(start=LOADED + above, end=program.end + above)
    words = changed(words, {32: SNAPSHOT + above, LINK: KEEP + above})

    found = unwound(words, stack, moved)

    addresses = [one.address for one in found.frames]
    assert addresses[:2] == [SNAPSHOT + above, KEEP + above]
    assert found.frames[1].mapping == moved


@pytest.mark.parametrize("word", [INNER | 1 << 55, INNER | 1 << 56, INNER | 1 << 63])
def test_what_no_signature_makes_is_no_address(tmp_path: Path, word: int) -> None:
    words, stack = TABLES
    other = stack[:8] + word.to_bytes(8, "little") + stack[16:]

    found = unwound(words, other, mapped(tmp_path / "program"))

    assert found.frames[2].mapping is None
    assert found.stopped == "an address where no code is known to be"


def test_a_signed_zero_ends_the_stack(tmp_path: Path) -> None:
    words, stack = TABLES
    zero = (0x13 << 48).to_bytes(8, "little")
    other = stack[:8] + zero + stack[16:]

    found = unwound(words, other, mapped(tmp_path / "program"))

    assert found.stopped is None
    assert [one.address for one in found.frames] == [SNAPSHOT, KEEP]


# bare_middle() keeps no frame pointer: the register has bare_outer()'s, and leads to
# bare_outer()'s caller.
def test_a_caller_without_a_frame_pointer_is_not_skipped(tmp_path: Path) -> None:
    words, stack = BARE

    found = unwound(words, stack, mapped(tmp_path / "program"))

    assert found.stopped is None
    assert hows(found) == [
        (BARE_SNAPSHOT, "instruction"),
        (BARE_MIDDLE, "scan"),
        (BARE_OUTER, "scan"),
        (BEGIN_BARE, "frame-pointer"),
        (START, "cfi"),
    ]


# A call by a pointer says nothing of itself; a buffer may hold what a call left there.
@pytest.mark.parametrize(("stale", "found_there"), [(8, True), (40, False)])
def test_a_return_address_above_a_frame_record_is_an_earlier_calls(
    tmp_path: Path, stale: int, *, found_there: bool
) -> None:
    words, _ = BARE
    base = words[STACK]
    words = changed(words, {LINK: 0, FRAME: base + 16})
    stack = bytearray(128)
    struct.pack_into("<2Q", stack, 16, base + 96, BEGIN_BARE)
    struct.pack_into("<Q", stack, stale, BARE_MIDDLE)

    found = unwound(words, bytes(stack), mapped(tmp_path / "program"))

    addresses = [one.address for one in found.frames]
    if found_there:
        assert addresses[:2] == [BARE_SNAPSHOT, BARE_MIDDLE]
    else:
        assert addresses == [BARE_SNAPSHOT]
        assert found.stopped == "no unwind tables"


def test_the_caller_of_injected_code_is_who_it_returns_to(tmp_path: Path) -> None:
    words, stack = BARE
    words = changed(words, {32: 0x7000_0040})
    injected = Mapping(0x7000_0000, 0x7000_1000, 0, b"//anon", 0, 0, 1)

    found = unwound(words, stack, mapped(tmp_path / "program"), injected)

    assert hows(found)[:2] == [(0x7000_0040, "instruction"), (BARE_MIDDLE, "scan")]
    # A return address in itself is behind a call of its own: the frame pointer then.
    words = changed(words, {LINK: 0x7000_0030})
    found = unwound(words, stack, mapped(tmp_path / "program"), injected)
    assert hows(found)[1] == (BEGIN_BARE, "frame-pointer")


def signalled(registers: tuple[int, ...]) -> bytes:
    """Return what the kernel saves of `registers` for a signal's handler."""
    frame = bytearray(128 + 176 + 8)  # siginfo; ucontext as far as the registers
    frame += struct.pack("<34Q", *registers)
    frame += bytes(4096 + 256)  # vector registers
    return bytes(frame) + struct.pack("<2Q", registers[FRAME], registers[LINK])


def test_a_signal_interrupts_code_that_keeps_no_frame(tmp_path: Path) -> None:
    words, stack = TABLES
    saved = signalled(words)
    begin = words[STACK] - len(saved)
    program = mapped(tmp_path / "program")
    vdso = Mapping(0x5000_0000, 0x5000_1000, 0, b"[vdso]", 0, 0, 1)
    # In the handler, as it has returned to what the kernel has for it.
    handler = [0] * 34
    handler[32], handler[STACK] = 0x5000_0100, begin
    handler[FRAME] = begin + len(saved) - 16

    found = unwound(tuple(handler), saved + stack, program, vdso)

    addresses = [one.address for one in found.frames]
    assert found.stopped is None
    # Its caller comes next, by the link register that it had.
    assert addresses == [0x5000_0100, SNAPSHOT, KEEP, INNER, MIDDLE, BEGIN, START]
    # A record that says otherwise is not the kernel's.
    other = saved[:-8] + bytes(8)
    found = unwound(tuple(handler), other + stack, program, vdso)
    assert [one.address for one in found.frames] == [0x5000_0100]


# An alternate signal stack may be above what the handler interrupted.
@pytest.mark.parametrize("frame", [0x1000, 0])
def test_code_without_tables_is_interrupted_on_a_lower_stack(
    tmp_path: Path, frame: int
) -> None:
    words, stack = BARE
    lower = changed(words, {STACK: 0x1000, FRAME: frame, LINK: 0})
    saved = signalled(lower)
    begin = words[STACK] - len(saved)
    program = mapped(tmp_path / "program")
    vdso = Mapping(0x5000_0000, 0x5000_1000, 0, b"[vdso]", 0, 0, 1)
    handler = [0] * 34
    handler[32], handler[STACK] = 0x5000_0100, begin
    handler[FRAME] = begin + len(saved) - 16

    found = unwound(tuple(handler), saved + stack, program, vdso)

    assert [one.address for one in found.frames] == [0x5000_0100, BARE_SNAPSHOT]
    assert found.stopped == "the end of the stack that was copied"
