"""What a process does is of each container in which it, or who started it, ever was."""

from collections.abc import Iterable
from typing import Any, Literal, cast

import pytest

from egressmon.containers.admission import MAX_HELD, Admission
from egressmon.containers.choice import Choice, Fate
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import Actor, ProcessRecord
from egressmon.evidence.records.running import LossRecord
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    EscapeRecord,
    PlaceRecord,
)
from egressmon.evidence.rendering import Rendered

HOME, OWN = 1, 7
FATES = {"web": Fate.WATCHED, "db": Fate.OTHER, "new": Fate.OPEN}


class Known:
    """A choice whose answers a test gives."""

    def __init__(self) -> None:
        self.fates = dict(FATES)
        self.distrusted: set[str] = set()

    def fate(self, keys: Iterable[str]) -> Fate:
        each = (self.fates.get(key, Fate.WATCHED) for key in keys)
        return max(each, default=Fate.OUTSIDE)

    def distrust(self, keys: Iterable[str]) -> None:
        self.distrusted |= set(keys)


class Run:
    """An admission, and what it let through."""

    def __init__(self) -> None:
        self.choice = Known()
        self.put: list[Any] = []
        self.settled: list[set[str]] = []
        self.admission = Admission(
            cast("Choice", self.choice),
            lambda rendered, _: self.put.append(rendered.record),
            self.settle,
        )
        self.admission.begin({1: frozenset()}, HOME)
        self.time = 0

    def settle(self, keys: Iterable[str]) -> None:
        self.settled.append(set(keys))
        for key in keys:
            self.choice.fates[key] = Fate.WATCHED
        self.admission.release()

    def gives(self, record: Record) -> bool:
        self.time += 1
        rendered = Rendered(record, b"x" * 10, (), None)
        return self.admission.admits(rendered, self.time)

    def connects(self, pid: int | None, key: str | None = None, place: int = 0) -> bool:
        return self.gives(of(ConnectionRecord, pid, key, place=place, relayed=None))

    def dropped(self) -> dict[str, dict[str, int]]:
        return {name: dict(found) for name, found in self.admission.dropped.items()}


def of(kind: type[Any], pid: int | None, key: str | None, **fields: Any) -> Record:
    made: Any = object.__new__(kind)
    actor = object.__new__(Actor)
    object.__setattr__(actor, "pid", pid)
    object.__setattr__(actor, "container", key)
    if kind is not PlaceRecord:
        fields["process"] = actor if pid is not None else None
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return cast("Record", made)


def process(
    event: Literal["fork", "exec", "exit"],
    pid: int,
    ppid: int = 1,
    key: str | None = None,
) -> ProcessRecord:
    return ProcessRecord(
        event, pid, ppid, 0, "x", None, None, argv_cut=False, started="", container=key
    )


@pytest.fixture
def run() -> Run:
    return Run()


def test_what_is_outside_or_of_another_is_counted(run: Run) -> None:
    assert not run.gives(process("fork", 10))
    assert not run.connects(10)
    assert not run.gives(process("fork", 11, key="db"))
    assert not run.connects(11, "db")
    assert not run.gives(of(DnsRecord, 11, "db", place=0, count=3))
    assert run.gives(process("fork", 12, key="web"))
    assert run.connects(12, "web")

    assert run.dropped() == {
        "connections": {"outside": 1, "other": 1}, "queries": {"other": 3}
    }  # fmt: skip


def test_what_is_of_nobody_is_recorded(run: Run) -> None:
    assert run.connects(None)
    assert run.connects(99)  # nothing was told of that process
    assert run.gives(LossRecord("lost_flow", 1, "why"))
    assert run.gives(process("fork", 13, ppid=99))
    assert run.connects(13)


def test_who_leaves_a_container_or_is_started_there_is_of_it(run: Run) -> None:
    run.gives(process("fork", 10, key="web"))
    run.gives(process("exec", 10))
    run.gives(process("fork", 11, ppid=10))
    run.gives(process("exit", 10))
    run.gives(process("fork", 12, ppid=11, key="db"))

    assert run.connects(10)
    assert run.connects(11)
    assert run.connects(12, "db")


def test_who_enters_one_is_of_it_with_all_that_it_starts_then(run: Run) -> None:
    run.gives(process("fork", 10))
    run.gives(process("fork", 11, ppid=10))
    run.gives(process("exec", 10, key="web"))
    run.gives(process("fork", 12, ppid=10))

    assert not run.connects(11)
    assert run.connects(12)


def test_a_number_that_is_used_again_is_both_for_a_while(run: Run) -> None:
    run.gives(process("fork", 10, key="web"))
    run.gives(process("exit", 10))
    run.gives(process("fork", 10))
    assert run.connects(10)
    run.gives(process("exit", 10))
    run.time += 200_000_000_000
    run.gives(process("fork", 10))

    assert not run.connects(10)


@pytest.mark.parametrize(
    ("fate", "is_put"), [(Fate.WATCHED, True), (Fate.OTHER, False)]
)
def test_what_is_open_is_kept_in_its_order(
    run: Run, fate: Fate, *, is_put: bool
) -> None:
    assert not run.gives(process("fork", 10, key="new"))
    assert not run.connects(10, "new")
    run.admission.release()
    assert run.put == []
    assert run.admission.fate_of(10) is Fate.OPEN
    run.choice.fates["new"] = fate
    run.admission.release()

    kinds: list[Any] = [type(one) for one in run.put]
    assert kinds == ([ProcessRecord, ConnectionRecord] if is_put else [])
    others = {} if is_put else {"other": 1}
    assert run.dropped()["connections"] == others


def test_of_too_much_nothing_is_dropped(run: Run) -> None:
    for _ in range(MAX_HELD + 1):
        run.connects(10, "new")

    assert run.settled == [{"new"}]
    assert len(run.put) == MAX_HELD + 1
    assert run.connects(10, "new")


def test_who_shares_a_network_may_send_for_another(run: Run) -> None:
    for number, netns in enumerate((OWN, 8, HOME), 1):
        place = of(PlaceRecord, None, None, number=number, netns=netns)
        assert run.gives(place)
    run.gives(process("fork", 10))
    assert not run.connects(11, "db", place=1)
    assert not run.connects(10, place=1)
    assert run.connects(12, "web", place=1)

    assert run.connects(11, "db", place=1)
    assert run.connects(10, place=1)
    assert not run.connects(11, "db", place=2)
    assert run.connects(12, "web", place=3)
    assert not run.connects(11, "db", place=3)  # the machine's own


def test_no_answer_is_believed_about_who_reached_an_engine(run: Run) -> None:
    run.gives(of(EscapeRecord, 10, "new", what="unix-socket"))
    assert run.choice.distrusted == set()
    run.gives(of(EscapeRecord, 10, "new", what="launcher"))
    assert run.choice.distrusted == {"new"}
