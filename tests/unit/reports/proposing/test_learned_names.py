"""Of several names at an address, a policy has those that were meant."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord, NameRecord
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.reports.proposing.learned_policy import Lesson
from support.reported import connection, look_up

ACTOR = Actor(1, 1, 0, 0, "client", "/bin/client", [], [])


def text_of(*records: ConnectionRecord | DnsRecord) -> str:
    """Return the text of the policy that `records` teach."""
    lesson = Lesson()
    for record in records:
        lesson.add(record)
    return lesson.policy_text("client", NO_SEARCH)


def learned(*records: ConnectionRecord | DnsRecord) -> dict[str, Any]:
    """Return the policy that `records` teach."""
    return tomllib.loads(text_of(*records))


def answered(
    name: str, *answers: str, pid: int = 1, tid: int | None = None, argv: str = "x"
) -> DnsRecord:
    """Return the record of a look-up by process `pid`, with these answers."""
    actor = replace(ACTOR, pid=pid, tid=tid or pid, argv=["client", argv])
    return replace(
        look_up(name, verdict="allowed"), process=actor, answers=list(answers)
    )


def reached(
    ip: str,
    *names: tuple[str, str | None],
    pid: int = 1,
    tid: int | None = None,
    port: int = 443,
) -> ConnectionRecord:
    """Return the record of a connection by `pid`; of each name, who asked for it."""
    known = [NameRecord(name, "dns", by) for name, by in names]  # type: ignore[arg-type]
    record = connection(ip, port=port)
    actor = replace(ACTOR, pid=pid, tid=tid or pid)
    return replace(record, process=actor, dst=replace(record.dst, names=known))


def hosts(policy: dict[str, Any]) -> list[str]:
    """Return the hosts that may be reached."""
    return [entry["host"] for entry in policy["allow"]]


def test_each_process_teaches_the_name_that_it_asked_for() -> None:
    names = [f"{one}.cdn.test" for one in "abcd"]
    records: list[ConnectionRecord | DnsRecord] = []
    for pid, name in enumerate(names, 1):
        records.append(answered(name, f"{name} A 192.0.2.1", pid=pid))
        others = [(one, "other") for one in names[: pid - 1]]
        records.append(reached("192.0.2.1", (name, "thread"), *others, pid=pid))

    policy = learned(*records)

    assert hosts(policy) == names
    assert "dns" not in policy


def test_a_name_that_nobody_connected_by_stays_a_look_up() -> None:
    policy = learned(
        answered("a.test", "a.test A 192.0.2.1", pid=1),
        answered("b.test", "b.test A 192.0.2.1", pid=2),
        reached("192.0.2.1", ("a.test", "thread"), ("b.test", "other"), pid=1),
    )

    assert hosts(policy) == ["a.test"]
    assert policy["dns"]["names"] == ["b.test"]


# An asynchronous program asks for several, then connects in an order nobody knows.
def test_names_that_one_thread_asked_for_together_are_all_needed() -> None:
    both = (("b.test", "thread"), ("a.test", "thread"))
    text = text_of(
        answered("a.test", "a.test A 192.0.2.1"),
        answered("b.test", "b.test A 192.0.2.1"),
        reached("192.0.2.1", *both),
        reached("192.0.2.1", *both),
    )

    assert hosts(tomllib.loads(text)) == ["a.test", "b.test"]
    for other in ("a.test", "b.test"):
        assert f"also asked for {other}: which one it meant is not known" in text


# The resolver may have the address that the names lead to.
def test_what_asks_for_the_names_goes_by_none() -> None:
    names = (("b.test", "process"), ("a.test", "process"))
    asking = reached("192.0.2.1", ("a.test", "process"), port=53)

    policy = learned(
        answered("a.test", "a.test A 192.0.2.1"),
        replace(asking, verdict="allowed", rule="dns.resolvers"),
        answered("b.test", "b.test A 192.0.2.1"),
        reached("192.0.2.1", *names),
    )

    assert hosts(policy) == ["a.test", "b.test"]


# Threads of a pool: the second one asks before the first connects, and connects after.
def test_each_thread_teaches_the_name_that_it_asked_for() -> None:
    policy = learned(
        answered("a.test", "a.test A 192.0.2.1", tid=2),
        answered("b.test", "b.test A 192.0.2.1", tid=3),
        reached("192.0.2.1", ("a.test", "thread"), ("b.test", "process"), tid=2),
        reached("192.0.2.1", ("b.test", "thread"), ("a.test", "process"), tid=3),
        answered("c.test", "c.test A 192.0.2.1", tid=3),
        reached("192.0.2.1", ("a.test", "thread"), ("c.test", "process"), tid=2),
        reached("192.0.2.1", ("c.test", "thread"), ("b.test", "thread"), tid=3),
    )

    assert hosts(policy) == ["a.test", "b.test", "c.test"]
    assert "dns" not in policy


# As goroutines do, which move from thread to thread.
def test_no_name_is_left_out_where_threads_connect_by_what_others_asked_for() -> None:
    ab = (("a.test", "thread"), ("b.test", "process"))
    policy = learned(
        answered("a.test", "a.test A 192.0.2.1", tid=2),
        answered("b.test", "b.test A 192.0.2.1", tid=3),
        reached("192.0.2.1", *ab, tid=2),
        reached("192.0.2.1", *ab, tid=2),
    )

    assert hosts(policy) == ["a.test", "b.test"]


def test_a_name_that_was_surely_meant_once_is_not_doubted() -> None:
    text = text_of(
        answered("a.test", "a.test A 192.0.2.1"),
        reached("192.0.2.1", ("a.test", "thread")),
        answered("a.test", "a.test A 192.0.2.1"),
        answered("b.test", "b.test A 192.0.2.1"),
        reached("192.0.2.1", ("b.test", "thread"), ("a.test", "thread")),
    )

    assert hosts(tomllib.loads(text)) == ["a.test", "b.test"]
    assert "also asked for a.test: " in text
    assert "also asked for b.test: " not in text


# In another run the others may ask later than this process connects.
def test_what_only_others_asked_for_is_learned_by_its_address() -> None:
    text = text_of(
        answered("a.test", "a.test A 192.0.2.1", pid=1),
        reached("192.0.2.1", ("a.test", "thread"), pid=1),
        reached("192.0.2.1", ("a.test", "other"), pid=2),
    )

    entries = tomllib.loads(text)["allow"]
    assert entries == [{"cidr": "192.0.2.1"}, {"host": "a.test"}]
    assert "# others asked for a.test: write that host if it is meant\n" in text


def test_of_names_asked_for_one_after_the_other_only_the_last_is_used() -> None:
    policy = learned(
        answered("a.test", "a.test A 192.0.2.1"),
        reached("192.0.2.1", ("a.test", "thread"), port=1),
        answered("b.test", "b.test A 192.0.2.1"),
        reached("192.0.2.1", ("b.test", "thread"), ("a.test", "thread"), port=2),
    )

    assert {one["host"]: one["ports"] for one in policy["allow"]} == {
        "a.test": [1],
        "b.test": [2],
    }


def test_what_an_answer_led_to_is_learned_as_what_was_asked_for() -> None:
    policy = learned(
        answered(
            "www.test", "www.test CNAME edge.cdn.test", "edge.cdn.test A 192.0.2.1"
        ),
        answered("edge.cdn.test", "edge.cdn.test A 192.0.2.1"),
        reached("192.0.2.1", ("edge.cdn.test", "thread"), ("www.test", "thread")),
    )

    assert hosts(policy) == ["www.test"]
    assert "dns" not in policy


def test_pointers_to_what_was_learned_are_not_listed() -> None:
    policy = learned(
        answered("www.test", "www.test A 192.0.2.1"),
        answered("1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa PTR www.test"),
        answered("9.2.0.192.in-addr.arpa"),
    )

    assert policy["dns"]["names"] == ["9.2.0.192.in-addr.arpa", "www.test"]


@pytest.mark.parametrize(
    ("argv", "asked_below", "expected"),
    [
        ("x", False, "db"),
        ("http://db.corp.test/", False, "db.corp.test"),
        ("x", True, "db.corp.test"),
    ],
)
def test_a_name_of_the_search_list_is_written_short_unless_it_was_asked_for_whole(
    argv: str, expected: str, *, asked_below: bool
) -> None:
    lesson = Lesson()
    if asked_below:
        lesson.add(answered("db.corp.test.corp.test"))
    lesson.add(answered("db.corp.test", "db.corp.test A 192.0.2.1", argv=argv))
    lesson.add(answered("gone.corp.test"))
    lesson.add(reached("192.0.2.1", ("db.corp.test", "thread")))

    policy = tomllib.loads(lesson.policy_text("client", SearchList(("corp.test",))))

    assert hosts(policy) == [expected]
    assert policy["dns"]["names"] == ["gone"]
