"""ELF files and unwind tables, also damaged ones, give an answer or a clear error."""

import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.attribution.native.unwinding.cfi import FrameTable
from egressmon.attribution.native.unwinding.cfi_rows import CfiError
from egressmon.attribution.native.unwinding.expression import (
    ExpressionError,
    evaluate,
    sleb,
    uleb,
)
from egressmon.attribution.native.unwinding.images import Image
from egressmon.attribution.native.unwinding.processors import aarch64_calls, x86_64
from egressmon.files.elf import Elf, ElfError
from support.files import elf_of

PROGRAM = Path("/bin/true")


@cache
def program() -> bytes:
    return PROGRAM.read_bytes()


def opened(path: Path) -> Elf:
    return Elf(os.open(path, os.O_RDONLY))


def test_segments_and_build_id() -> None:
    elf = opened(PROGRAM)

    code = next(one for one in elf.segments if one.executable)
    assert elf.offset_of(code.address) == code.offset
    assert elf.address_of(code.offset) == code.address
    assert elf.build_id is not None
    assert len(elf.build_id) in {32, 40}
    assert elf.section(b".eh_frame") is not None
    assert elf.section(b".no_such") is None
    elf.close()


def test_symbols_are_found_by_the_hash_table() -> None:
    libc = next(
        Path(line.split()[-1])
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("libc.so.6")
    )
    elf = opened(libc)

    assert elf.symbol("connect") is not None
    assert elf.symbol("sendmmsg") is not None
    assert elf.symbol("no_such_function") is None
    elf.close()


def test_an_interpreter_is_known_by_what_it_exports() -> None:
    elf = opened(Path(sys.executable).resolve())
    image = Image(elf, "", "")
    true = Image(opened(PROGRAM), "", "")

    mapped = Path("/proc/self/maps").read_text()
    assert image.is_python or "libpython" in mapped
    assert not true.is_python
    assert not true.is_node


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", b"#!/bin/sh\n", bytes(4096), b"\x7fELF\x01\x01" * 20]
)
def test_what_is_no_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(ElfError):
        elf_of(data)


def test_a_pipe_is_refused() -> None:
    read, write = os.pipe()

    with pytest.raises(ElfError, match="not a regular file"):
        Elf(read)
    os.close(write)


# Whatever is in the file, reading it ends, and raises no other error.
def ask_everything(data: bytes, addresses: list[int]) -> None:
    try:
        elf = elf_of(data)
    except ElfError:
        return
    with suppress(ElfError):
        elf.section(b".eh_frame")
    Image(elf, "", "").defines("PyInit__socket")
    table = FrameTable(elf)
    for address in addresses:
        with suppress(CfiError):
            table.row(address)
        with suppress(ElfError):
            elf.pointer_at(address)
        with suppress(ElfError):
            elf.import_at(address)
        for processor in (aarch64_calls, x86_64):
            with suppress(ElfError):
                processor.leads_to(elf, address, elf, address)
    elf.close()


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8))),
    st.integers(0, 1 << 16),
    st.lists(st.integers(0, 1 << 16), max_size=4),
)
def test_a_damaged_file_is_an_error_and_no_more(
    changes: list[tuple[int, bytes]], cut: int, addresses: list[int]
) -> None:
    data = bytearray(program())
    for place, change in changes:
        at = place % len(data)
        data[at : at + len(change)] = change
    if cut < len(data) // 2:
        del data[len(data) - cut :]

    ask_everything(bytes(data), addresses)


@settings(max_examples=200)
@given(st.data())
def test_damaged_tables_are_an_error_and_no_more(data: st.DataObject) -> None:
    elf = opened(PROGRAM)
    section, header = elf.section(b".eh_frame"), elf.frame_header
    elf.close()
    assert section is not None
    assert header is not None
    content = bytearray(program())
    for place, size in (section, (header.offset, 64)):
        for _ in range(data.draw(st.integers(0, 6))):
            at = place + data.draw(st.integers(0, size - 1))
            content[at] = data.draw(st.integers(0, 255))

    ask_everything(bytes(content), [data.draw(st.integers(0, 1 << 15))])


def test_numbers_of_any_length() -> None:
    assert uleb(b"\xe5\x8e\x26", 0) == (624485, 3)
    assert sleb(b"\xc0\xbb\x78", 0) == (-123456, 3)
    with pytest.raises(ExpressionError):
        uleb(b"\x80" * 20, 0)
    with pytest.raises(ExpressionError):
        sleb(b"", 0)


def test_an_expression_as_glibc_writes_it() -> None:
    # The rule of the procedure linkage table: rsp + 8 + ((rip & 15) >= 11) * 8.
    code = b"\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"

    for instruction, expected in ((0x1000, 108), (0x100A, 108), (0x100B, 116)):
        found = evaluate(code, {7: 100, 16: instruction}, lambda _: 0)
        assert found == expected


@pytest.mark.parametrize("code", [b"\x2f\xfd\xff", b"\x30\x2f\xfc\xff", b"\x12" * 99])
def test_an_endless_expression_ends(code: bytes) -> None:
    with pytest.raises(ExpressionError):
        evaluate(code, {}, lambda _: 0)


@given(st.binary(max_size=64))
def test_any_expression_ends(code: bytes) -> None:
    registers = {number: number << 8 for number in range(17)}
    with suppress(ExpressionError, LookupError):
        assert 0 <= evaluate(code, registers, lambda address: address ^ 5) < 1 << 64
