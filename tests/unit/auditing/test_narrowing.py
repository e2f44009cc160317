"""Which part of an entry allows more than was used."""

import ipaddress
import tomllib

import pytest

from egressmon.auditing.entries import lines_of_entries
from egressmon.auditing.narrowing import maker, wider
from egressmon.auditing.tables import entry_lines, string
from egressmon.auditing.usage import Usage
from egressmon.policy.judging.questions import Claimed, Destination, Origin
from egressmon.policy.language.model import Allow, By
from egressmon.policy.language.search import NO_SEARCH, SearchList


def used(
    entry: Allow,
    *destinations: tuple[str, int | None, str, str],
    packages: tuple[str, ...] = ("curl",),
    claimed: bool = False,
) -> Usage:
    """Return what used `entry`: (name, port, protocol, address)."""
    usage = Usage()
    claims = tuple(Claimed("package", one, "as set") for one in packages if claimed)
    for name, port, protocol, address in destinations:
        target = Destination(ipaddress.ip_address(address), port, protocol, (name,))
        origin = Origin(packages=packages, claimed=claims)
        usage.connect(entry, target, origin, NO_SEARCH)
    return usage


A = ("a.example.org", 443, "tcp", "198.51.100.1")


def test_a_package_that_alone_used_an_entry_is_told() -> None:
    entry = Allow(host="a.example.org")

    assert (part := maker(entry, used(entry, A))) is not None
    assert part.value == By(package=("curl",))
    assert maker(entry, used(entry, A, packages=())) is None
    assert maker(entry, used(entry, A, packages=("curl", "libcurl"))) is None
    assert maker(entry, used(entry, A, claimed=True)) is None
    mixed = used(entry, A)
    other = Origin(packages=("wget",))
    address = ipaddress.ip_address(A[3])
    mixed.connect(entry, Destination(address, 443, "tcp"), other, NO_SEARCH)
    assert maker(entry, mixed) is None
    only = Allow(host="a.example.org", by=By(exe=("*/curl",)))
    assert maker(only, used(only, A)) is None


def test_ping_alone_needs_no_ports() -> None:
    entry = Allow(cidr="198.51.100.0/24", protocol="any", ports="any")
    ping = ("", None, "icmpv6", "198.51.100.1")

    parts = {one.key: one.value for one in wider(entry, used(entry, ping))}

    assert parts == {"cidr": "198.51.100.1", "protocol": "icmp", "ports": None}


def test_many_ports_are_no_list_that_somebody_would_write() -> None:
    entry = Allow(host="a.example.org", ports="any")
    many = [("a.example.org", 1000 + n, "tcp", "198.51.100.1") for n in range(17)]

    assert list(wider(entry, used(entry, *many))) == []
    assert [one.value for one in wider(entry, used(entry, *many[:2]))] == [(1000, 1001)]


def test_two_protocols_or_addresses_are_no_narrower() -> None:
    entry = Allow(cidr="198.51.100.0/24", protocol="any")
    other = ("", 443, "udp", "198.51.100.2")

    assert list(wider(entry, used(entry, A, other))) == []


def test_a_protocol_without_a_word_stays_any() -> None:
    entry = Allow(cidr="198.51.100.1", protocol="any")

    assert list(wider(entry, used(entry, ("", None, "47", "198.51.100.1")))) == []


def test_a_name_is_narrowed_as_it_was_asked_for_below_a_search_domain() -> None:
    entry, usage = Allow(host="**.example.org"), Usage()
    search = SearchList(("corp.test",), 1)
    address = ipaddress.ip_address("198.51.100.1")
    target = Destination(address, 443, "tcp", ("a.example.org.corp.test",))

    usage.connect(entry, target, Origin(), search)

    assert [one.value for one in wider(entry, usage)] == ["a.example.org"]


@pytest.mark.parametrize(
    "text", ["plain", 'a"b\\', "\x00\x7f\u202e\n", "é🙂", "\ud800"]
)
def test_any_text_is_one_string_of_toml(text: str) -> None:
    read = tomllib.loads(f"a = {string(text)}")["a"]

    assert read == text.replace("\ud800", "\ufffd")
    assert string(text).isprintable()


def test_an_entry_is_written_with_all_that_it_has() -> None:
    entry = Allow(
        cidr="198.51.100.0/24",
        ports=(80, "8000-8100"),
        protocol="any",
        by=By(exe=("*/a b",), route=("native",), claimed=True),
        reason="why",
    )

    (found,) = tomllib.loads("\n".join(entry_lines(entry, "[[allow]]")))["allow"]

    assert Allow.model_validate(found) == entry


def test_the_lines_of_entries_are_found() -> None:
    text = '[[allow]] # a\nhost = "a"\n [[ "allow" ]]\n[[deny]]\n[allow]\n[[ allow]]\n'

    assert lines_of_entries(text, "allow") == [1, 3, 6]
