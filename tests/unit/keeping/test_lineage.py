"""The keeper's sweep of the probes' members, over a table that stands for the map."""

import errno

import pytest

from egressmon.keeping import lineage
from egressmon.keeping.lineage import MOST_LOOKED_AT, Lineage

TABLE = 7


class Map:
    """A hash map as the kernel has it: behind a key that is gone comes the first."""

    def __init__(self) -> None:
        self.elements: dict[bytes, bytes] = {}
        self.looks = 0
        self.can_take = True

    def element_sizes(self, _table: int) -> tuple[int, int]:
        return 4, 16

    def next_key(self, _table: int, key: bytes | None, _size: int) -> bytes | None:
        self.looks += 1
        keys = iter(self.elements)
        if key in self.elements:
            next(one for one in keys if one == key)
        return next(keys, None)

    def lookup(self, _table: int, key: bytes, _size: int) -> bytes:
        if key not in self.elements:
            raise FileNotFoundError(errno.ENOENT, "")
        return self.elements[key]

    def take(self, _table: int, key: bytes, _size: int) -> bytes:
        if not self.can_take:
            raise OSError(524, "")
        value = self.lookup(TABLE, key, 0)
        del self.elements[key]
        return value

    def add(self, _table: int, key: bytes, value: bytes) -> None:
        if key in self.elements:
            raise FileExistsError(errno.EEXIST, "")
        self.elements[key] = value

    def join(self, pid: int, start: int = 1) -> None:
        self.elements[pid.to_bytes(4, "little")] = start.to_bytes(16, "little")

    @property
    def pids(self) -> set[int]:
        return {int.from_bytes(key, "little") for key in self.elements}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Map:
    made = Map()
    monkeypatch.setattr(lineage, "bpf", made)
    return made


def test_who_is_gone_at_two_sweeps_is_removed(table: Map) -> None:
    for pid in (10, 20, 30):
        table.join(pid)
    members = Lineage(TABLE, lambda pid: pid == 20)

    assert members.sweep() == 0
    assert table.pids == {10, 20, 30}
    assert members.sweep() == 2
    assert table.pids == {20}
    assert members.sweep() == 0


def test_another_process_of_that_number_stays(table: Map) -> None:
    table.join(10)
    members = Lineage(TABLE, lambda _: False)
    members.sweep()
    table.join(10, start=2)

    assert members.sweep() == 0
    assert table.pids == {10}


def test_who_comes_while_it_is_removed_is_put_back(
    table: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.join(10)
    members = Lineage(TABLE, lambda _: False)
    members.sweep()
    take = table.take

    def late(number: int, key: bytes, size: int) -> bytes:
        table.join(10, start=2)
        return take(number, key, size)

    monkeypatch.setattr(table, "take", late)

    assert members.sweep() == 0
    assert table.elements == {(10).to_bytes(4, "little"): (2).to_bytes(16, "little")}


def test_a_sweep_looks_at_a_bounded_number(table: Map) -> None:
    for pid in range(1, 2 * MOST_LOOKED_AT + 1):
        table.join(pid)
    members = Lineage(TABLE, lambda _: False)

    members.sweep()
    assert table.looks == MOST_LOOKED_AT
    members.sweep()
    members.sweep()  # the end, and the first ones again
    assert table.looks <= 3 * MOST_LOOKED_AT
    removed = sum(members.sweep() for _ in range(6))

    assert removed == 2 * MOST_LOOKED_AT
    assert table.pids == set()


def test_before_linux_5_14_nothing_is_removed(table: Map) -> None:
    table.join(10)
    table.can_take = False
    members = Lineage(TABLE, lambda _: False)

    assert [members.sweep() for _ in range(3)] == [0, 0, 0]
    assert table.pids == {10}
