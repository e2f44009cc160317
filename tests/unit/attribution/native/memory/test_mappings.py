"""What is mapped where, at which moment."""

from typing import cast

import pytest

from egressmon.attribution.native.memory.address_spaces import AddressSpaces
from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.memory.proc_maps import parse_maps
from egressmon.probes.kernel.sideband import Ended, Executed, Forked, Mapped


def mapping(
    start: int, end: int, path: bytes = b"/lib/a.so", offset: int = 0
) -> Mapping:
    return Mapping(start, end, offset, path, 1, 1, 0)


def told(ktime_ns: int, start: int, path: bytes, pid: int = 7) -> Mapped:
    return Mapped(ktime_ns, pid, start, 0x1000, 0, path, 1, 1)


def path_at(spaces: AddressSpaces, address: int, pid: int = 7) -> bytes | None:
    space = spaces.get(pid)
    found = space.find(address) if space is not None else None
    return found.path if found is not None else None


def test_a_new_mapping_cuts_what_it_covers() -> None:
    space = AddressSpace()
    space.add(mapping(0x1000, 0x5000, b"/old", 0x100))
    space.add(mapping(0x2000, 0x3000, b"/new"))

    parts = [(one.start, one.end, one.offset, one.path) for one in space]
    assert parts == [
        (0x1000, 0x2000, 0x100, b"/old"),
        (0x2000, 0x3000, 0, b"/new"),
        (0x3000, 0x5000, 0x2100, b"/old"),
    ]
    assert space.find(0xFFF) is None
    assert space.find(0x5000) is None


def test_a_new_mapping_swallows_smaller_ones() -> None:
    space = AddressSpace()
    for start in (0x1000, 0x2000, 0x4000):
        space.add(mapping(start, start + 0x1000, b"/old"))
    space.add(mapping(0x1800, 0x4800, b"/new"))

    ends = [(one.start, one.end) for one in space]
    assert ends == [(0x1000, 0x1800), (0x1800, 0x4800), (0x4800, 0x5000)]


def test_only_what_happened_by_then_is_known() -> None:
    spaces = AddressSpaces()
    spaces.push([told(30, 0x1000, b"/b"), Executed(10, 7), told(20, 0x1000, b"/a")])

    seen: list[bytes | None] = []
    for moment in (5, 15, 25, 35):
        spaces.advance_to(moment)
        seen.append(path_at(spaces, 0x1000))

    assert seen == [None, None, b"/a", b"/b"]


def test_a_child_has_its_parents_mappings_and_then_its_own() -> None:
    spaces = AddressSpaces()
    spaces.push([Executed(1, 7), told(2, 0x1000, b"/a"), Forked(3, 8, 7)])
    spaces.push([told(4, 0x1000, b"/b", pid=8)])
    spaces.advance_to(9)

    assert path_at(spaces, 0x1000) == b"/a"
    assert path_at(spaces, 0x1000, pid=8) == b"/b"


def test_who_shares_memory_has_what_the_other_maps_until_it_executes() -> None:
    spaces = AddressSpaces()
    spaces.push([Executed(1, 7), told(2, 0x1000, b"/a"), Forked(3, 8, 7)])
    spaces.advance_to(3)
    spaces.share(8, 7)
    spaces.push([told(4, 0x2000, b"/b"), told(5, 0x3000, b"/c", pid=8)])
    spaces.advance_to(5)

    for pid in (7, 8):
        found = [path_at(spaces, place, pid) for place in (0x1000, 0x2000, 0x3000)]
        assert found == [b"/a", b"/b", b"/c"]

    spaces.push([Executed(6, 8), told(7, 0x1000, b"/d", pid=8)])
    spaces.advance_to(7)
    assert path_at(spaces, 0x1000, 8) == b"/d"
    assert path_at(spaces, 0x1000, 7) == b"/a"
    spaces.drop(8)
    assert path_at(spaces, 0x2000, 7) == b"/b"


def test_an_exec_and_an_end_forget_all() -> None:
    spaces = AddressSpaces()
    spaces.push([Executed(1, 7), told(2, 0x1000, b"/a"), Executed(3, 7)])
    spaces.advance_to(3)

    assert path_at(spaces, 0x1000) is None
    spaces.push([Ended(4, 7)])
    spaces.advance_to(4)
    assert spaces.get(7) is None


def test_a_process_of_the_scope_outlives_its_first_thread() -> None:
    spaces = AddressSpaces()
    spaces.push([Executed(1, 7), told(2, 0x1000, b"/a"), Ended(3, 7)])
    spaces.retain(7)
    spaces.advance_to(3)

    assert path_at(spaces, 0x1000) == b"/a"
    spaces.drop(7)
    assert spaces.get(7) is None


def test_the_program_is_what_was_mapped_first() -> None:
    spaces = AddressSpaces()
    spaces.push([Executed(1, 7), told(2, 0x5000, b"/bin/x"), told(3, 0x1000, b"/ld")])
    spaces.advance_to(3)

    space = spaces.get(7)
    assert space is not None
    assert space.program is not None
    assert space.program.path == b"/bin/x"


def test_maps_of_proc() -> None:
    space = parse_maps(
        b"00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/with a space\n"
        b"00651000-00652000 r--p 00051000 08:02 173521 /usr/bin/x\n"
        b"7f00-7f80 r-xp 00000000 00:00 0 \n"
        b"nonsense r-xp 0 0 0\n"
        b"7fff0000-7fff1000 r-xp 00000000 00:00 0 [vdso]\n"
    )

    found = [(one.path, one.is_unbacked, one.is_kernels) for one in space]
    assert found == [
        (b"", True, False),
        (b"/usr/bin/with a space", False, False),
        (b"[vdso]", False, True),
    ]


def test_code_in_no_file_is_known_as_such() -> None:
    for path in (
        b"",
        b"//anon",
        b"[heap]",
        b"/memfd:x (deleted)",
        b"/dev/zero (deleted)",
    ):
        assert mapping(0, 1, path).is_unbacked
    for path in (b"/lib/x.so", b"[vdso]", b"/home/memfd:x"):
        assert not mapping(0, 1, path).is_unbacked


def test_a_record_that_fails_is_not_met_again_and_its_process_is_unknown() -> None:
    spaces = AddressSpaces()
    spaces.push([Executed(1, 7), Executed(1, 8), told(2, 0x1000, b"/a")])
    spaces.push([told(3, cast("int", "no address"), b"/a", pid=8)])
    spaces.push([told(4, 0x2000, b"/b"), Executed(5, 9)])

    with pytest.raises(TypeError):
        spaces.advance_to(9)
    spaces.advance_to(9)

    assert path_at(spaces, 0x2000) == b"/b"
    assert spaces.get(8) is None
    assert spaces.get(9) is not None
