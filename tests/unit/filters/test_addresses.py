"""Look-ups of a plan's names: several at once, in bounded time, each failure said."""

import ipaddress
import threading

import pytest

from egressmon.filters import addresses
from egressmon.filters.addresses import MAX_ADDRESSES, resolve, resolve_by
from egressmon.naming.names import parse_resolver
from egressmon.policy.judging.pointers import Address

API = ipaddress.ip_address("198.51.100.7")


def test_a_name_that_fails_takes_nothing_from_the_others() -> None:
    def look_up(name: str) -> tuple[Address, ...]:
        if name == "bad":
            raise OSError(-2, "Name or service not known")
        return (API, API)

    found = resolve_by(["a", "bad", "b"], look_up, 10)

    assert found.addresses == {"a": (API,), "b": (API,)}
    assert found.problems == ("bad: Name or service not known",)


def test_names_that_nobody_answers_about_are_given_up() -> None:
    released = threading.Event()

    def look_up(name: str) -> tuple[Address, ...]:
        if name == "slow":
            released.wait(60)
        return (API,)

    try:
        found = resolve_by(["slow", "fast"], look_up, 0.5)
    finally:
        released.set()

    assert found.problems == ("slow: no answer within 0.5 s",)
    assert found.addresses == {"fast": (API,)}


@pytest.mark.parametrize("listed", [(), (ipaddress.ip_address("::"),)])
def test_a_name_without_a_usable_address_is_said(listed: tuple[Address, ...]) -> None:
    found = resolve_by(["a"], lambda _: listed, 10)

    assert (found.addresses, found.problems) == ({}, ("a: it has no address",))


def test_an_address_that_is_v4_mapped_is_the_one_that_packets_have() -> None:
    mapped = ipaddress.ip_address(f"::ffff:{API}")
    odd = (mapped, ipaddress.ip_address("::ffff:0.0.0.0"))

    assert resolve_by(["a"], lambda _: odd, 10).addresses == {"a": (API,)}


def test_a_name_of_very_many_addresses_is_bounded_and_said() -> None:
    many = tuple(API + n for n in range(MAX_ADDRESSES + 1))
    found = resolve_by(["a"], lambda _: many, 10)

    assert len(found.addresses["a"]) == MAX_ADDRESSES
    assert found.problems == ("a: of 1025 addresses, 1024 are taken",)


def test_nothing_below_a_search_domain_stands_for_a_whole_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = set[str]()

    def ask(name: str) -> tuple[Address, ...]:
        asked.add(name)
        return (API,)

    monkeypatch.setattr(addresses, "ask", ask)
    resolver = parse_resolver("search corp.example\noptions ndots:1\n")
    resolve(["api.example.org", "db"], resolver)

    assert asked == {"api.example.org.", "db"}
