"""Lines from the tables of each version, against what the version itself says."""

import sys
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.attribution.python.line_tables import line_of

# (minor, co_firstlineno, table, code size, [(from this place on, line)]): what
# findlinestarts() of 3.9.18 and co_lines() of 3.10.13 say of two functions, one of
# them with 300 empty lines in it.
RECORDED = [
    (
        9,
        1,
        "000204010401060106ff0a020c02040208fe08021401020102ff",
        90,
        [(0, 3), (4, 4), (8, 5), (14, 6), (20, 5), (30, 7), (42, 9), (46, 11), (54, 9),
         (62, 11), (82, 12), (84, 13), (86, 12)],
    ),
    (9, 1, "0001047f007f002f040202ff", 12, [(0, 2), (4, 303), (8, 305), (10, 304)]),
    (
        10,
        1,
        "04020401060106010aff0c0204020c0202fc02fe08060201020104ff0aff",
        88,
        [(0, 3), (4, 4), (8, 5), (14, 6), (20, 5), (30, 7), (42, 9), (46, 11), (58, 7),
         (60, 5), (62, 11), (70, 12), (72, 13), (74, 12), (78, 11)],
    ),
    (10, 1, "0401007f007f042f020202ff", 12, [(0, 2), (4, 303), (8, 305), (10, 304)]),
]  # fmt: skip


@pytest.mark.parametrize(("minor", "first", "table", "size", "lines"), RECORDED)
def test_older_tables(
    minor: int, first: int, table: str, size: int, lines: list[tuple[int, int]]
) -> None:
    for place in range(0, size, 2):
        wanted = [line for start, line in lines if start <= place][-1]
        assert line_of(minor, bytes.fromhex(table), first, place) == wanted
    assert line_of(minor, bytes.fromhex(table), first, -1) == first


def nested(code: CodeType) -> list[CodeType]:
    """Return code and all that is defined in it."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return [code, *(deeper for one in inner for deeper in nested(one))]


def test_this_interpreters_own_tables() -> None:
    source = "\n" * 400 + Path(__file__).read_text()
    minor = sys.version_info.minor
    checked = 0
    for code in nested(compile(source, "x.py", "exec")):
        for start, end, line in code.co_lines():
            for place in range(start, end, 2):
                found = line_of(minor, code.co_linetable, code.co_firstlineno, place)
                assert found == line
                checked += 1
    assert checked > 500


@given(
    st.integers(min_value=9, max_value=15),
    st.binary(max_size=200),
    st.integers(min_value=-10, max_value=1 << 31),
    st.integers(min_value=-(1 << 31), max_value=1 << 31),
)
def test_a_damaged_table_ends_the_search(
    minor: int, table: bytes, first: int, place: int
) -> None:
    found = line_of(minor, table, first, place)

    assert found is None or 0 <= found < 1 << 31


@pytest.mark.parametrize("pieces", [6, 30, 150])
def test_a_line_that_no_file_has_is_none(pieces: int) -> None:
    far = bytes([0x40 | 63] * pieces + [1]) + bytes(3)
    table = bytes([0x80 | 14 << 3 | 7]) + far

    assert line_of(11, table, 1, 0) is None
