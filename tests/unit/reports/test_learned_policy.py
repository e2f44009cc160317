"""A run teaches the smallest policy that allows it, however many hosts it reached."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from egressmon.evidence.records import (
    Actor,
    ConnectionRecord,
    DnsRecord,
    NameRecord,
    Peer,
)
from egressmon.reports import learned_policy
from egressmon.reports.learned_policy import Lesson

ACTOR = Actor(1, 1, 0, 0, "client", "/bin/client", [], [])


def connection(ip: str, *names: str, port: int = 443) -> ConnectionRecord:
    """Return the record of a connection to `ip`, which has these names."""
    return ConnectionRecord(
        op="connect",
        protocol="tcp",
        family="inet",
        socket="scope",
        dst=Peer(ip, port, [NameRecord(name, "dns") for name in names]),
        process=ACTOR,
        process_reason=None,
        verdict="violation",
        action="observed",
        rule=None,
        reason="",
        module=None,
        module_reason=None,
        route="unknown",
        route_reason=None,
        bypass=None,
        code=None,
        code_status="none",
        code_reason=None,
    )


def look_up(name: str) -> DnsRecord:
    """Return the record of a look-up of `name`."""
    return DnsRecord(
        protocol="udp",
        resolver="127.0.0.1",
        name=name,
        asked=None,
        kind="A",
        status="NXDOMAIN",
        answers=[],
        answer_count=0,
        unread_bytes=0,
        trusted=True,
        process=ACTOR,
        process_reason=None,
        verdict="allowed",
        rule=None,
        reason="",
        module=None,
        module_reason=None,
        route="unknown",
        route_reason=None,
        bypass=None,
        code=None,
        code_reason=None,
    )


def learned(*records: ConnectionRecord | DnsRecord) -> tuple[str, dict[str, Any]]:
    """Return the policy that `records` teach, as text and parsed."""
    lesson = Lesson()
    for record in records:
        lesson.add(record)
    text = lesson.policy_text("client", ())
    return text, tomllib.loads(text)


def test_the_name_that_explains_most_is_taken_first() -> None:
    _, policy = learned(
        connection("192.0.2.1", "first.example.test", "shared.example.test"),
        connection("192.0.2.2", "second.example.test", "shared.example.test"),
        connection("192.0.2.3", "third.example.test"),
        connection("192.0.2.4"),
    )

    targets = [entry.get("host") or entry["cidr"] for entry in policy["allow"]]
    assert sorted(targets) == [
        "192.0.2.4",
        "shared.example.test",
        "third.example.test",
    ]


# It once counted all votes again for each entry: quadratic.
def test_the_work_grows_with_the_hosts_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    whole = Lesson._names  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def names(lesson: Lesson, use: Any) -> list[str]:
        nonlocal asked
        asked += 1
        return whole(lesson, use)

    monkeypatch.setattr(learned_policy.Lesson, "_names", names)
    hosts = 2000

    _, policy = learned(
        *(
            connection(f"198.51.{n // 250}.{n % 250}", f"host{n}.example.test")
            for n in range(hosts)
        )
    )

    assert len(policy["allow"]) == hosts
    assert asked <= 3 * hosts


def test_one_odd_look_up_does_not_allow_every_name() -> None:
    text, policy = learned(
        look_up("fine.example.test"), look_up("*odd*.example.test"), look_up("a b.test")
    )

    assert policy["dns"] == {"names": ["fine.example.test"]}
    assert "# left out, no host name: *odd*.example.test" in text
    assert "# left out, no host name: a b.test" in text


def test_a_hostile_name_stays_in_its_comment() -> None:
    text, policy = learned(look_up('x\n[[allow]]\ncidr = "0.0.0.0/0"\n'))

    assert "allow" not in policy
    assert "\n[[allow]]" not in text


def test_many_odd_look_ups_are_counted() -> None:
    text, _ = learned(*(look_up(f"*{n}.example.test") for n in range(100)))

    assert text.count("# left out") == 20
    assert "# and 80 more that are no host names" in text


def answered(name: str, *answers: str, pid: int = 1, argv: str = "x") -> DnsRecord:
    """Return the record of a look-up by process `pid`, with these answers."""
    actor = replace(ACTOR, pid=pid, tid=pid, argv=["client", argv])
    return replace(look_up(name), process=actor, answers=list(answers))


def reached(
    ip: str, *names: tuple[str, str | None], pid: int = 1, port: int = 443
) -> ConnectionRecord:
    """Return the record of a connection by `pid`; of each name, who asked for it."""
    known = [NameRecord(name, "dns", by) for name, by in names]  # type: ignore[arg-type]
    record = connection(ip, port=port)
    actor = replace(ACTOR, pid=pid, tid=pid)
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

    _, policy = learned(*records)

    assert hosts(policy) == names
    assert "dns" not in policy


def test_a_name_that_nobody_connected_by_stays_a_look_up() -> None:
    _, policy = learned(
        answered("a.test", "a.test A 192.0.2.1", pid=1),
        answered("b.test", "b.test A 192.0.2.1", pid=2),
        reached("192.0.2.1", ("a.test", "thread"), ("b.test", "other"), pid=1),
    )

    assert hosts(policy) == ["a.test"]
    assert policy["dns"]["names"] == ["b.test"]


# An asynchronous program asks for several, then connects in an order nobody knows.
def test_names_that_one_thread_asked_for_together_are_all_needed() -> None:
    both = (("b.test", "thread"), ("a.test", "thread"))
    _, policy = learned(
        answered("a.test", "a.test A 192.0.2.1"),
        answered("b.test", "b.test A 192.0.2.1"),
        reached("192.0.2.1", *both),
        reached("192.0.2.1", *both),
    )

    assert hosts(policy) == ["a.test", "b.test"]


def test_of_names_asked_for_one_after_the_other_only_the_last_is_used() -> None:
    _, policy = learned(
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
    _, policy = learned(
        answered(
            "www.test", "www.test CNAME edge.cdn.test", "edge.cdn.test A 192.0.2.1"
        ),
        answered("edge.cdn.test", "edge.cdn.test A 192.0.2.1"),
        reached("192.0.2.1", ("edge.cdn.test", "thread"), ("www.test", "thread")),
    )

    assert hosts(policy) == ["www.test"]
    assert "dns" not in policy


def test_pointers_to_what_was_learned_are_not_listed() -> None:
    _, policy = learned(
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

    policy = tomllib.loads(lesson.policy_text("client", ("corp.test",)))

    assert hosts(policy) == [expected]
    assert policy["dns"]["names"] == ["gone"]
