"""An excerpt of BTF says of the types in it what the whole says."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.probes.loaders import btf_excerpt
from egressmon.probes.loaders.btf import Btf, BtfError
from support.btf import ENUM64, INT, STRUCT, UNION, Blob

POINTER, ARRAY, TYPEDEF, CONST = 2, 3, 8, 10


def kernel() -> Blob:
    blob = Blob()
    blob.add(INT, "int", bytes(4))  # 1
    blob.add_struct(UNION, "", ("left", 1, 0), ("right", 1, 0))  # 2
    blob.add(POINTER, "")  # 3, of type 4
    blob.add_struct(STRUCT, "other", ("secret", 1, 0))  # 4
    blob.add(ARRAY, "", struct.pack("=III", 1, 1, 16))  # 5
    blob.add(ENUM64, "numbers", struct.pack("=III", blob.text("ONE"), 1, 0), 1)  # 6
    blob.add(TYPEDEF, "word")  # 7, of type 4
    members = ("pid", 1, 0), ("", 2, 64), ("next", 3, 128), ("comm", 5, 192)
    blob.add_struct(STRUCT, "task", *members, ("inner", 7, 320), ("which", 6, 352))
    blob.add_struct(STRUCT, "task", ("pid", 1, 32))
    return blob


def section(*names: str) -> bytes:
    probes = Blob()
    for name in names:
        probes.add_struct(STRUCT, name)
    btf = probes.bytes()
    texts = b"\0.BTF.ext\0.BTF\0"
    start = 64
    headers = start + len(btf) + len(texts)
    elf = bytearray(64)
    struct.pack_into("=Q", elf, 40, headers)
    struct.pack_into("=HHH", elf, 58, 64, 3, 2)

    def header(name: int, place: int, size: int) -> bytes:
        return struct.pack("=I20xQQ24x", name, place, size)

    table = bytes(64) + header(10, start, len(btf))
    return bytes(elf) + btf + texts + table + header(0, start + len(btf), len(texts))


def test_a_flavour_of_a_type_asks_for_the_type() -> None:
    assert btf_excerpt.wanted_by(section("task___read", "sock")) == {"task", "sock"}


def test_fields_are_where_the_kernel_has_them() -> None:
    whole = kernel().bytes()
    fields = [("task", name) for name in ("pid", "left", "next", "comm", "inner")]

    found = Btf(btf_excerpt.excerpt(whole, {"task", "numbers"}))

    assert found.offsets(fields) == Btf(whole).offsets(fields)
    assert found.names("ONE")


def test_all_types_of_a_name_are_there_and_others_only_in_name_and_size() -> None:
    found = Btf(btf_excerpt.excerpt(kernel().bytes(), {"task"}))

    names = [found.name(one) for one in found.of_kinds([STRUCT])]
    assert names.count("task") == 2
    assert names.count("other") == 1
    assert not found.names("secret")


@given(st.data())
def test_damaged_btf_is_an_error_or_an_excerpt(data: st.DataObject) -> None:
    whole = bytearray(kernel().bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    try:
        found = btf_excerpt.excerpt(bytes(whole), {"task"})
    except BtfError:
        return
    assert found[:2] == whole[:2]


@pytest.mark.parametrize("image", [b"", bytes(64), section("task")[:100]])
def test_what_is_no_object_is_an_error(image: bytes) -> None:
    with pytest.raises(BtfError):
        btf_excerpt.wanted_by(image)
