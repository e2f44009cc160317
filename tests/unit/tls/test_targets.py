"""Which hosts are asked, and what is said of those that are not."""

import pytest

from egressmon.errors import UsageError
from egressmon.policy.language.model import Allow, Deny
from egressmon.tls.targets import Target, Unchecked, allowed_targets, parse_target


@pytest.mark.parametrize(
    ("text", "target", "shown"),
    [
        ("example.org:443", Target("example.org", 443), "example.org:443"),
        ("EXAMPLE.org.:8443", Target("example.org", 8443), "example.org:8443"),
        ("bücher.example:443", Target("xn--bcher-kva.example", 443), None),
        ("192.0.2.7:443", Target("192.0.2.7", 443), "192.0.2.7:443"),
        ("[2001:DB8::1]:443", Target("2001:db8::1", 443), "[2001:db8::1]:443"),
    ],
)
def test_a_host_and_a_port_are_a_target(
    text: str, target: Target, shown: str | None
) -> None:
    assert parse_target(text) == target
    assert target.text == (shown or f"{target.host}:{target.port}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:٤٤٣",
        "https://example.org:443",
        "2001:db8::1:443",
        "[example.org:443",
        "*.example.org:443",
        "1.2:443",
        "a b:443",
        "a\n:443",
        "ä" * 80 + ":443",
    ],
)
def test_anything_else_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_target(text)

    assert raised.value.hint
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "is_address"),
    [("192.0.2.7", True), ("2001:db8::1", True), ("example.org", False)],
)
def test_no_name_is_asked_for_at_an_address(host: str, *, is_address: bool) -> None:
    assert Target(host, 443).is_address is is_address


def test_of_a_policy_exact_names_are_asked_once_and_the_rest_is_said() -> None:
    allow = [
        Allow(host="a.example"),
        Allow(host="a.example", ports=(443, "8443-8444"), protocol="any"),
        Allow(host="*.example.org"),
        Allow(cidr="192.0.2.0/24"),
        Allow(host="b.example", protocol="udp"),
        Allow(host="c.example", ports="any"),
        Allow(host="d.example", ports=(80, 443)),
        Allow(host="bad.example.net"),
    ]
    deny = [Deny(host="*.example.net"), Deny(cidr="198.51.100.0/24")]

    found = list(allowed_targets(allow, deny))

    assert found == [
        Target("a.example", 443),
        Target("a.example", 8443),
        Target("a.example", 8444),
        Unchecked("allow[2] *.example.org", "a wildcard names no one host"),
        Unchecked("allow[3]", "addresses have no name to ask for"),
        Unchecked("allow[4] b.example", "udp is not TCP"),
        Unchecked("allow[5] c.example", "ports 1-65535: name one with HOST:PORT"),
        Unchecked("allow[6] d.example", "port 80 does not begin with a handshake"),
        Target("d.example", 443),
        Unchecked("allow[7] bad.example.net", "a deny entry covers it, too"),
    ]


def test_a_wildcard_stands_for_the_known_names_that_it_covers() -> None:
    known = ["a.example.org", "b.example.org", "example.org", "x.example.net"]
    allow = [Allow(host="*.example.org"), Allow(host="a.example.org")]
    deny = [Deny(host="b.example.org")]

    assert list(allowed_targets(allow, deny, known)) == [
        Target("a.example.org", 443),
        Unchecked("allow[0] *.example.org", "a deny entry covers it, too"),
    ]


def test_a_wildcard_does_not_stand_for_any_number_of_names() -> None:
    known = [f"a{number}.example.org" for number in range(10_000)]

    found = list(allowed_targets([Allow(host="*.example.org")], [], known))

    assert len(found) == 101
    assert found[0] == Unchecked(
        "allow[0] *.example.org", "it covers 9900 more known names"
    )


def test_a_wildcard_does_not_stand_for_what_is_no_name_of_a_host() -> None:
    known = ["a.example.org", "*.example.org", "-o.example.org", "x\\x00.example.org"]

    found = list(allowed_targets([Allow(host="*.example.org")], [], known))

    assert found == [
        Unchecked("allow[0] *.example.org", "3 known names are none of hosts"),
        Target("a.example.org", 443),
    ]
