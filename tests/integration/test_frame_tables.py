"""Our reading of unwind tables against readelf's, on real files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from egressmon.attribution.native.unwinding.cfi import FrameTable
from egressmon.files.elf import Elf

_NAMES = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp")
_NUMBERS = {name: number for number, name in enumerate(_NAMES)}
_NUMBERS.update({"ra": 16, **{f"r{n}": n for n in range(8, 16)}})
_ROW = re.compile(r"^([0-9a-f]{16}) (\w+)([+-]\d+)\s+(.*)$")
_HEAD = re.compile(r"^\s+LOC\s+CFA\s+(.*)$")
_FRAME = re.compile(r"^[0-9a-f]+ [0-9a-f]+ [0-9a-f]+ FDE .*pc=[0-9a-f]+\.\.([0-9a-f]+)")


# Every row that readelf prints in plain numbers: (address, register, offset, rules).
def rows_of(path: Path) -> list[tuple[int, int, int, dict[int, int]]]:
    text = subprocess.run(
        ["readelf", "--debug-dump=frames-interp", str(path)],
        capture_output=True,
        text=True,
        check=False,  # it also complains of debug files that it does not find
    ).stdout
    columns: list[str] = []
    found: list[tuple[int, int, int, dict[int, int]]] = []
    end = 0
    for line in text.splitlines():
        if " CIE" in line:
            end = 0
        elif match := _FRAME.match(line):
            end = int(match.group(1), 16)
        elif match := _HEAD.match(line):
            columns = match.group(1).split()
        elif (match := _ROW.match(line)) and int(match.group(1), 16) < end:
            values = re.sub(r" \(\w+\)", "", match.group(4)).split()
            rules = {
                _NUMBERS[column]: int(value[1:])
                for column, value in zip(columns, values, strict=False)
                if value.startswith("c")
            }
            register = _NUMBERS[match.group(2)]
            found.append(
                (int(match.group(1), 16), register, int(match.group(3)), rules)
            )
    return found


def libc() -> Path:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return Path(next(line.split()[-1] for line in lines if "libc.so.6" in line))


@pytest.mark.parametrize(
    "path", [libc(), Path("/bin/bash"), Path(sys.executable).resolve()], ids=str
)
def test_every_row_is_read_as_readelf_reads_it(path: Path) -> None:
    elf = Elf(os.open(path, os.O_RDONLY))
    table = FrameTable(elf)
    expected = rows_of(path)
    assert expected

    for address, register, offset, rules in expected[:: max(1, len(expected) // 3000)]:
        found = table.row(address)
        assert found is not None, hex(address)
        row, column = found
        assert column == 16
        assert (row.register, row.offset) == (register, offset), hex(address)
        saved = {
            number: value
            for number, (kind, value) in row.rules.items()
            if kind == "saved"
        }
        assert saved == rules, hex(address)
    elf.close()
