"""Reading BTF, both valid and damaged."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.probes.loaders.btf import Btf, BtfError
from support.btf import ENUM64, INT, STRUCT, UNION, Blob


def example() -> Blob:
    blob = Blob()
    blob.add(INT, "int", bytes(4))  # 1
    blob.add_struct(UNION, "", ("left", 1, 0), ("right", 1, 0))  # 2
    blob.add_struct(STRUCT, "", ("deep", 1, 32), ("", 2, 64))  # 3
    blob.add(ENUM64, "numbers", bytes(24), 2)  # 4
    blob.add_struct(STRUCT, "task", ("pid", 1, 0), ("", 3, 128), ("task", 1, 320))
    return blob


def test_a_field_is_found_where_it_is() -> None:
    fields = {("task", "pid"): 0, ("task", "task"): 40}

    assert Btf(example().bytes()).offsets(fields) == fields


def test_a_field_of_an_unnamed_struct_or_union_inside_counts_from_outside() -> None:
    fields = {("task", "deep"): 20, ("task", "left"): 24, ("task", "right"): 24}

    assert Btf(example().bytes()).offsets(fields) == fields


def test_an_offset_beside_the_size_of_a_bit_field_is_told_apart() -> None:
    blob = example()
    flag = 1 << 31 | STRUCT << 24 | 1
    member = struct.pack("=III", blob.text("flags"), 1, 3 << 24 | 64)
    blob.types += struct.pack("=III", blob.text("packed"), flag, 4) + member

    assert Btf(blob.bytes()).offsets([("packed", "flags")]) == {("packed", "flags"): 8}


def test_a_struct_has_the_size_that_is_written() -> None:
    blob = Blob()
    blob.add(INT, "task", bytes(4))
    blob.types += struct.pack("=III", blob.text("task"), STRUCT << 24, 336)

    assert Btf(blob.bytes()).size("task") == 336
    with pytest.raises(BtfError, match="no struct nothing"):
        Btf(blob.bytes()).size("nothing")


@pytest.mark.parametrize(
    ("field", "says"),
    [
        (("nothing", "pid"), "no struct nothing"),
        (("task", "nothing"), "struct task has no field nothing"),
    ],
)
def test_what_is_not_there_is_named(field: tuple[str, str], says: str) -> None:
    with pytest.raises(BtfError, match=says):
        Btf(example().bytes()).offsets([field])


def test_a_kind_from_the_future_is_refused() -> None:
    blob = example()
    blob.add(30, "strange")

    with pytest.raises(BtfError, match="unknown kind 30"):
        Btf(blob.bytes())


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BtfError):
        Btf(data)


@given(st.integers(24, 250), st.binary(min_size=1, max_size=12))
def test_damage_is_refused_or_harmless(where: int, garbage: bytes) -> None:
    data = example().bytes()
    data = data[:where] + garbage + data[where + len(garbage) :]

    try:
        found = Btf(data).offsets([("task", "pid"), ("task", "left")])
    except BtfError:
        return
    assert all(offset >= 0 for offset in found.values())


def test_a_struct_that_holds_itself_does_not_go_on_for_ever() -> None:
    blob = Blob()
    blob.add_struct(STRUCT, "loop", ("", 1, 0), ("", 1, 0))

    with pytest.raises(BtfError, match="no field x"):
        Btf(blob.bytes()).offsets([("loop", "x")])
