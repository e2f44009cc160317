"""A run teaches the smallest policy that allows it, however many hosts it reached."""

import tomllib
from typing import Any

import pytest

from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.reports.proposing import entries
from egressmon.reports.proposing.learned_policy import Lesson
from support.reported import code, connection, look_up


def allowed_look_up(name: str, **how: Any) -> DnsRecord:
    """Return the record of a look-up in a learning run, which allows all."""
    return look_up(name, verdict="allowed", reason="any name may be looked up", **how)


def learned(
    *records: ConnectionRecord | DnsRecord, search: SearchList = NO_SEARCH
) -> tuple[str, dict[str, Any]]:
    """Return the policy that `records` teach, as text and parsed."""
    lesson = Lesson()
    for record in records:
        lesson.add(record)
    text = lesson.policy_text("client", search)
    return text, tomllib.loads(text)


def test_the_name_that_explains_most_is_taken_first() -> None:
    _, policy = learned(
        connection("192.0.2.1", "first.example.test", "shared.example.test"),
        connection("192.0.2.2", "second.example.test", "shared.example.test"),
        connection("192.0.2.3", "*odd*", "third.example.test"),
        connection("192.0.2.4"),
    )

    targets = [entry.get("host") or entry["cidr"] for entry in policy["allow"]]
    assert sorted(targets) == [
        "192.0.2.4",
        "shared.example.test",
        "third.example.test",
    ]


def test_of_two_names_alike_the_one_that_a_connection_goes_by_is_taken() -> None:
    _, policy = learned(connection("192.0.2.1", "b.example.test", "a.example.test"))

    assert policy["allow"] == [{"host": "b.example.test"}]


@pytest.mark.parametrize("protocol", ["icmp", "icmpv6"])
def test_what_was_only_pinged_may_only_be_pinged(protocol: str) -> None:
    _, policy = learned(connection("192.0.2.1", port=None, protocol=protocol))

    assert policy["allow"] == [{"cidr": "192.0.2.1", "protocol": "icmp"}]


def test_port_0_which_no_policy_names_is_said_and_left_out() -> None:
    text, policy = learned(connection("192.0.2.1", port=0), connection("192.0.2.2"))

    assert policy["allow"] == [{"cidr": "192.0.2.2"}]
    assert "# 1 connections to port 0 stay violations: no policy names it" in text


# It once counted all votes again for each entry: quadratic.
def test_the_work_grows_with_the_hosts_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    def is_host(name: str) -> bool:
        nonlocal asked
        asked += 1
        return bool(name)

    monkeypatch.setattr(entries, "is_host", is_host)
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
        *map(
            allowed_look_up,
            ("fine.example.test", "*odd*.example.test", "a b.test", "*.example.test"),
        )
    )

    assert policy["dns"] == {"names": ["fine.example.test"]}
    assert "# left out, no host name: *odd*.example.test" in text
    assert "# left out, no host name: a b.test" in text
    assert "# left out, no host name: *.example.test" in text


def test_a_hostile_name_stays_in_its_comment() -> None:
    text, policy = learned(allowed_look_up('x\n[[allow]]\ncidr = "0.0.0.0/0"\n'))

    assert "allow" not in policy
    assert "\n[[allow]]" not in text


def test_many_odd_look_ups_are_counted() -> None:
    text, _ = learned(*(allowed_look_up(f"*{n}.example.test") for n in range(100)))

    assert text.count("# left out") == 20
    assert "# and 80 more that are no host names" in text


def test_an_entry_says_which_test_needs_it() -> None:
    host, by = "api.example.test", code(package="urllib3")
    text, _ = learned(
        connection("192.0.2.1", host, made_by=by),
        connection("192.0.2.1", host, made_by=by),
        connection("192.0.2.1", host, program="curl"),
        allowed_look_up("stats.example.test", made_by=by),
    )

    who = "client (urllib3) in tests/test_net.py::test_fetch"
    assert f"# {who} (2x), curl (1x)\n[[allow]]\n" in text
    assert f'"stats.example.test",  # {who} (1x)' in text


def test_a_comment_stays_short_however_many_tests_need_the_entry() -> None:
    text, _ = learned(
        *(
            connection("192.0.2.1", made_by=code(f"tests/test_net.py::test_{n} (call)"))
            for n in range(50)
        )
    )

    (comment,) = (one for one in text.splitlines() if "test_0" in one)
    assert comment.endswith("test_2 (1x) and 47 more")


def test_names_below_a_search_domain_are_covered_by_their_host() -> None:
    _, policy = learned(
        connection("192.0.2.1", "api.example.test"),
        allowed_look_up("api.example.test.corp.test"),
        allowed_look_up("other.example.test.corp.test"),
        search=SearchList(("corp.test",)),
    )

    assert policy["dns"]["names"] == ["other.example.test"]


def test_what_no_policy_allows_is_said() -> None:
    junk = look_up("api.example.test", reason="bytes behind the message")

    text, _ = learned(junk)

    assert "# 1 look-ups stay violations: no plain questions" in text


def test_who_accepted_is_a_comment_by_the_programs_name() -> None:
    text, policy = learned(connection("192.0.2.9", op="accept", program="nginx"))

    assert "accept" not in policy
    assert '#   "192.0.2.9",  # nginx (1x)' in text
