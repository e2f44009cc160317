"""Containers are claims until their engine has answered, and each is told before."""

import socket
import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from egressmon.containers.cgroups import Cgroup, Cgroups
from egressmon.containers.choice import Choice
from egressmon.containers.known import Containers
from egressmon.containers.protocol import ANSWER, MAX_AT_ONCE, REQUEST, Told
from egressmon.containers.questions import MAX_WAITING, Questions
from egressmon.containers.sources import KNOWN
from egressmon.containers.wanted import Wanted
from egressmon.events.model import CgroupChanged
from egressmon.evidence.records.lasting import ContainerRecord
from support.container_engines import inspected, response

ID = "0123456789abcdef" * 4
PLACE = f"/docker/{ID}"


@dataclass
class Run:
    """The agent's part, with a test in the place of the asker."""

    asker: socket.socket
    containers: Containers
    records: list[ContainerRecord] = field(default_factory=list[ContainerRecord])
    searched: list[Cgroup] = field(default_factory=list[Cgroup])
    searches: int = 0

    def requests(self) -> list[tuple[int, int, str]]:
        """Return the questions so far: number, source, id."""
        self.containers.attend()
        self.asker.setblocking(False)
        found: list[tuple[int, int, str]] = []
        while True:
            try:
                number, which, identifier = REQUEST.unpack(self.asker.recv(100))
            except BlockingIOError:
                return found
            found.append((number, which, identifier.decode()))

    def answer(self, number: int, told: int, said: bytes = b"", owner: int = 0) -> None:
        """Answer one."""
        self.asker.send(ANSWER.pack(number, told, owner) + said)
        self.containers.attend()


def said(identifier: str = ID, name: str = "web") -> bytes:
    import json  # noqa: PLC0415 -- only here

    return response(json.dumps(inspected(identifier, name)).encode())


def run(choice: Choice | None = None) -> Generator[Run]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    cgroups = Cgroups([Cgroup(1, "/", 0), Cgroup(5, PLACE, 0)])
    with ours, theirs:
        one: Run

        def search() -> list[Cgroup]:
            one.searches += 1
            return one.searched

        containers = Containers(
            cgroups,
            Questions(theirs, KNOWN),
            lambda record: one.records.append(record),  # noqa: PLW0108 -- made below
            search,
            choice,
        )
        one = Run(ours, containers)
        yield one


@pytest.fixture
def told() -> Generator[Run]:
    yield from run()


def test_a_container_is_a_claim_and_then_confirmed(told: Run) -> None:
    key = told.containers.key_of(5, inside=None)
    ((number, which, identifier),) = told.requests()
    told.answer(number, Told.ALL, said())

    assert key == "docker:0123456789ab@5"
    assert (which, identifier) == (0, ID)
    first, second = told.records
    assert (first.key, first.confirmed, first.name) == (key, False, None)
    assert first.reason == "its engine was not asked yet"
    assert (second.key, second.confirmed, second.name) == (key, True, "web")
    assert second.reason is None


def test_it_is_told_and_asked_about_once(told: Run) -> None:
    keys = {told.containers.key_of(5, inside=each) for each in ("7.1", None, "8.1")}

    assert len(keys) == 1
    assert len(told.records) == len(told.requests()) == 1


def test_what_is_in_none_has_no_key(told: Run) -> None:
    assert told.containers.key_of(1, inside=None) is None
    assert told.containers.key_of(0, inside="7.1") is None
    assert told.records == []


def test_a_pid_namespace_is_a_container_without_a_name(told: Run) -> None:
    assert told.containers.key_of(1, inside="7.1") == "cgroup:/@1+7.1"
    (record,) = told.records
    assert record.reason == "a pid namespace of its own is all that tells of it"


def test_two_that_share_a_cgroup_are_not_one(told: Run) -> None:
    keys = [told.containers.key_of(1, inside=one) for one in ("7.1", "8.1", None)]

    assert keys == ["cgroup:/@1+7.1", "cgroup:/@1+8.1", None]
    assert [one.key for one in told.records] == keys[:2]


def test_a_cgroup_that_is_not_known_is_searched_for_and_told(told: Run) -> None:
    told.searched.append(Cgroup(9, "/system.slice", 0))

    assert told.containers.key_of(9, inside=None) is None
    assert told.containers.key_of(10, inside=None) == "unknown:@10"
    assert told.searches == 1
    (record,) = told.records
    assert record.engine == "unknown"
    assert "is not known" in (record.reason or "")


def test_one_in_another_is_told_after_it_and_not_asked_about(told: Run) -> None:
    inner = Cgroup(6, f"{PLACE}/docker/{'ef' * 32}", 0)
    told.searched.append(inner)
    key = told.containers.key_of(6, inside="7.1")

    outer, own = told.records
    assert own.key == key
    assert own.outer == outer.key == "docker:0123456789ab@5"
    assert "inside another container" in (own.reason or "")
    assert [one[2] for one in told.requests()] == [ID]


@pytest.mark.parametrize(
    ("maker", "owner", "identifier", "why"),
    [
        (1000, 0, ID, "user 1000 made its cgroup"),
        (0, 1000, ID, "belongs to user 1000"),
        (0, 0, "ef" * 32, "told of another container"),
    ],
)
def test_a_doubt_is_told(
    told: Run, maker: int, owner: int, identifier: str, why: str
) -> None:
    told.searched.append(Cgroup(7, f"/user/docker-{ID}.scope", maker))
    told.containers.key_of(7, inside=None)
    ((number, _, _),) = told.requests()
    told.answer(number, Told.ALL, said(identifier), owner)

    assert told.records[-1].confirmed is False
    assert why in (told.records[-1].reason or "")
    assert told.records[-1].name == "web"


def test_where_one_source_is_not_there_the_next_is_asked(told: Run) -> None:
    told.containers.key_of(5, inside=None)
    ((number, first, _),) = told.requests()
    told.answer(number, Told.ABSENT)
    ((number, second, _),) = told.requests()
    told.answer(number, Told.ABSENT)

    assert (KNOWN[first].kind, KNOWN[second].kind) == ("socket", "file")
    assert told.records[-1].reason == "no engine is there to be asked"


def test_who_does_not_answer_is_asked_three_times(told: Run) -> None:
    told.containers.key_of(5, inside=None)
    for _ in range(3):
        ((number, _, _),) = told.requests()
        told.answer(number, Told.LATE)

    assert told.requests() == []
    assert "did not answer 3 times" in (told.records[-1].reason or "")


def test_an_engine_that_is_not_sure_is_asked_again_and_then_its_files(
    told: Run,
) -> None:
    told.containers.key_of(5, inside=None)
    kinds: list[str] = []
    for _ in range(4):
        ((number, which, _),) = told.requests()
        kinds.append(KNOWN[which].kind)
        if KNOWN[which].kind == "socket":
            told.answer(number, Told.ALL, response(b"{}", "500 Oh"))
        else:
            told.answer(number, Told.ABSENT)

    assert kinds == ["socket", "socket", "socket", "file"]
    assert told.requests() == []
    assert told.records[-1].reason == "its engine answered with HTTP status 500"


def test_what_an_engine_has_forgotten_its_files_may_tell(told: Run) -> None:
    told.containers.key_of(5, inside=None)
    ((number, _, _),) = told.requests()
    told.answer(number, Told.ALL, response(b"{}", "404 Not Found"))
    ((number, which, _),) = told.requests()
    told.answer(number, Told.ALL, b"no JSON")

    assert KNOWN[which].kind == "file"
    assert "knows no such container" in (told.records[-1].reason or "")


def test_too_many_at_once_wait_and_too_many_of_those_are_told(told: Run) -> None:
    count = MAX_AT_ONCE + MAX_WAITING + 10
    told.searched += [
        Cgroup(100 + one, f"/docker/{one:064x}", 0) for one in range(count)
    ]
    for one in range(count):
        told.containers.key_of(100 + one, inside=None)

    assert len(told.requests()) == MAX_AT_ONCE
    left = [one for one in told.records if "too many" in (one.reason or "")]
    assert len(left) == count - MAX_WAITING


def test_without_the_asker_it_is_told(told: Run) -> None:
    told.containers.key_of(5, inside=None)
    told.requests()
    told.asker.close()
    told.containers.attend()

    assert "has ended" in (told.records[-1].reason or "")


def test_at_the_end_what_was_not_answered_is_told(told: Run) -> None:
    told.containers.key_of(5, inside=None)
    turns: list[int] = []
    told.containers.finish(0.05, lambda: turns.append(1))

    assert turns

    assert "the run ended before" in (told.records[-1].reason or "")


@pytest.mark.parametrize("data", [b"", b"x", struct.pack("=IBI", 99, 77, 0), b"y" * 40])
def test_no_answer_of_the_askers_is_fatal(told: Run, data: bytes) -> None:
    told.containers.key_of(5, inside=None)
    told.requests()
    told.asker.send(data)
    told.containers.attend()


def test_each_record_is_about_what_was_told_before(told: Run) -> None:
    told.containers.key_of(5, inside=None)
    ((number, _, _),) = told.requests()
    told.answer(number, Told.HUGE)

    assert all(one.key == other.key for one, other in pairwise(told.records))
    assert told.records[-1].reason == "what its engine says is too long"


@pytest.fixture
def chosen() -> Generator[Run]:
    """The same, where the containers that are called `web` are to be watched."""
    yield from run(Choice((Wanted("name", "web"),)))


@pytest.mark.parametrize(("name", "watched"), [("web", "yes"), ("db", "no")])
def test_what_is_in_another_is_told_again_once_that_is_known(
    chosen: Run, name: str, watched: str
) -> None:
    chosen.searched.append(Cgroup(6, f"{PLACE}/docker/{'ef' * 32}", 0))
    key = chosen.containers.key_of(6, inside=None)
    ((number, _, _),) = chosen.requests()
    assert [one.watched for one in chosen.records] == ["open", "open"]
    chosen.answer(number, Told.ALL, said(name=name))

    outer, inner = chosen.records[2:]
    assert (outer.name, outer.watched) == (name, watched)
    assert (inner.key, inner.watched) == (key, watched)


def test_what_is_settled_is_told_with_the_reason(chosen: Run) -> None:
    key = chosen.containers.key_of(5, inside=None)
    chosen.containers.settle("why", ["another"])
    assert len(chosen.records) == 1
    chosen.containers.settle("why")

    last = chosen.records[-1]
    assert (last.key, last.watched, last.watched_reason) == (key, "doubt", "why")


def test_a_container_is_asked_about_as_its_cgroup_is_made(chosen: Run) -> None:
    path = f"/docker/{'ab' * 32}"
    chosen.containers.on_change(
        CgroupChanged(1, 1, 9, is_made=True, path=path, uid=0, is_cut=False)
    )

    assert [one[2] for one in chosen.requests()] == ["ab" * 32]


def test_those_that_are_there_are_asked_about(chosen: Run) -> None:
    chosen.containers.meet_existing()

    assert [one[2] for one in chosen.requests()] == [ID]
    assert chosen.containers.is_waiting
