"""The lengths of instructions are those that objdump knows, in all of the C library."""

import platform
import subprocess
from pathlib import Path

import pytest

from egressmon.inspection.instructions import NoInstructionError, decode

LIBRARY = next(
    line.split()[-1]
    for line in Path("/proc/self/maps").read_text().splitlines()
    if line.endswith("libc.so.6")
)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64")
def test_lengths_are_those_of_objdump() -> None:
    words = ["objdump", "-d", "-w", "--insn-width=20", "-M", "intel", LIBRARY]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    codes = {row[1].strip() for row in rows if len(row) > 2 and "(bad)" not in row[2]}

    wrong = {code for code in codes if _length(code) != len(code.split())}

    assert len(codes) > 1000
    assert not wrong


def _length(code: str) -> int:
    try:
        return decode(bytes.fromhex(code) + bytes(16), 0).length
    except NoInstructionError:
        return 0
