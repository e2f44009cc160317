"""A run teaches the smallest policy that allows it, however many hosts it reached."""

import tomllib
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

    def candidates(use: object) -> list[str]:
        nonlocal asked
        asked += 1
        return list(use.names)  # type: ignore[attr-defined]

    monkeypatch.setattr(learned_policy, "_candidates", candidates)
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
