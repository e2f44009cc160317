"""An address keeps all its names while they hold, the most reliable first."""

import ipaddress
from pathlib import Path

from egressmon.naming.names import (
    GRACE_NS,
    Names,
    names_for_verdict,
    read_hosts_file,
    read_resolver,
)

A = ipaddress.ip_address("203.0.113.1")
SECOND = 1_000_000_000


def test_all_names_of_an_address_are_kept() -> None:
    names = Names()
    names.learn(A, "a.test", "dns", 10 * SECOND)
    names.learn(A, "B.test.", "dns", 10 * SECOND)

    assert [one.name for one in names.of(A, 0)] == ["a.test", "b.test"]


def test_a_name_ends_after_its_time_and_grace() -> None:
    names = Names()
    names.learn(A, "a.test", "dns", 10 * SECOND)

    assert names.of(A, 10 * SECOND + GRACE_NS)
    assert not names.of(A, 10 * SECOND + GRACE_NS + 1)


def test_a_later_answer_prolongs_and_never_shortens() -> None:
    names = Names()
    names.learn(A, "a.test", "dns", 100 * SECOND)
    names.learn(A, "a.test", "dns", 10 * SECOND)

    assert names.of(A, 100 * SECOND + GRACE_NS)


def test_a_learned_name_outranks_the_policys_own_resolution() -> None:
    names = Names()
    names.learn(A, "allowed.test", "policy-resolution")
    assert names_for_verdict(names.of(A, 0)) == ("allowed.test",)

    names.learn(A, "asked.test", "dns", SECOND)

    assert names_for_verdict(names.of(A, 0)) == ("asked.test",)
    assert [one.source for one in names.of(A, 0)] == ["dns", "policy-resolution"]


def test_names_are_bounded_and_what_is_dropped_is_counted() -> None:
    names = Names()
    for number in range(300):
        names.learn(A, f"{number}.test", "dns", SECOND)
    for number in range(65600):
        names.learn(ipaddress.ip_address(number), "x.test", "dns", SECOND)

    assert names.dropped >= 300 - 256 + 64


def test_hosts_files(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(
        b"127.0.0.1 localhost # loop\n# comment\n203.0.113.1\ta.test b.test\n"
        b"not-an-address x\n\n::1%lo six\nfe80::1\n\xff\xff bad\n"
    )

    pairs = [(str(address), name) for address, name in read_hosts_file(path)]

    assert pairs == [
        ("127.0.0.1", "localhost"),
        ("203.0.113.1", "a.test"),
        ("203.0.113.1", "b.test"),
        ("::1", "six"),
    ]
    assert read_hosts_file(tmp_path / "missing") == []


def test_resolver_files(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# by hand\nsearch Corp.Example. b.test\nnameserver 192.0.2.53\n"
        "nameserver fe80::1%eth0\nnameserver nonsense\noptions edns0\n"
    )

    found = read_resolver(path)

    assert list(map(str, found.servers)) == ["192.0.2.53", "fe80::1"]
    assert found.search == ("corp.example", "b.test")
    assert list(map(str, read_resolver(tmp_path / "missing").servers)) == ["127.0.0.1"]
