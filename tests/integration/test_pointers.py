"""Addresses that a file keeps of its own, however the linker wrote them down."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from egressmon.files.elf import Elf

SOURCE = """
static void freed(void) {}
struct { long size; void (*free)(void); void *none; } kind = {8, freed, 0};
int main(void) { kind.free(); return 0; }
"""
LINKED = {
    "a library": ["-shared", "-fPIC"],
    "a program": ["-pie", "-fPIE", "-rdynamic"],
    "a program at a fixed address": ["-no-pie", "-rdynamic"],
    "packed relocations": ["-shared", "-fPIC", "-Wl,-z,pack-relative-relocs"],
}


@pytest.mark.parametrize("how", LINKED)
def test_a_pointer_is_read_as_the_linker_will_write_it(
    tmp_path: Path, how: str
) -> None:
    source, built = tmp_path / "kind.c", tmp_path / "kind"
    source.write_text(SOURCE)
    words = ["gcc", *LINKED[how], "-o", str(built), str(source)]
    subprocess.run(words, check=True)
    symbols = subprocess.run(
        ["nm", str(built)], check=True, capture_output=True, text=True
    ).stdout
    places = {
        name: int(place, 16)
        for place, name in re.findall(r"^(\w+) \w (\w+)$", symbols, re.MULTILINE)
    }

    elf = Elf(os.open(built, os.O_RDONLY))

    try:
        assert elf.pointer_at(places["kind"] + 8) == places["freed"]
        assert elf.pointer_at(places["kind"] + 16) == 0
    finally:
        elf.close()
