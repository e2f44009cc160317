"""Destinations as a plan names them."""

import pytest

from egressmon.policy.errors import RefusedError
from egressmon.proofs.plans.destinations import parse_pattern


@pytest.mark.parametrize(
    ("pattern", "names", "ip", "port", "protocol", "covered"),
    [
        ("any", (), "192.0.2.1", 1, "udp", True),
        ("api.example.org", ("api.example.org",), "192.0.2.1", 1, "tcp", True),
        ("API.example.org.:443", ("api.example.org",), "192.0.2.1", 443, "tcp", True),
        ("*.example.org:443", ("api.example.org",), "192.0.2.1", 80, "tcp", False),
        ("*.example.org", ("a", "api.example.org"), "192.0.2.1", 80, "tcp", True),
        ("192.0.2.1:443/udp", (), "192.0.2.1", 443, "tcp", False),
        ("[2001:DB8::1]:443", (), "2001:db8::1", 443, "tcp", True),
        ("api.example.org", (), "192.0.2.1", 443, "tcp", False),
        ("*.example.org", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", None),
        ("**.example.org", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", True),
        ("api.example.org", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", False),
        ("api.example.org", ("api.exam…",), "192.0.2.1", 1, "tcp", None),
        ("*.example.org:2", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", False),
        ("*.example.org", ("***0.a", "b.example.org"), "192.0.2.1", 1, "tcp", True),
        ("any:8080", (), "192.0.2.1", 8080, "tcp", True),
        ("any:8080", (), "192.0.2.1", 8081, "tcp", False),
        ("any/tcp", (), "192.0.2.1", 1, "tcp", True),
        ("any/tcp", (), "192.0.2.1", 1, "udp", False),
        ("ANY", (), "192.0.2.1", 1, "tcp", True),
        ("any.:8080/udp", (), "2001:db8::1", 8080, "udp", True),
        ("[2001:db8::1]/icmp", (), "2001:db8::1", None, "icmpv6", True),
        ("192.0.2.1/icmp", (), "192.0.2.1", None, "icmp", True),
    ],
)
def test_destinations(  # noqa: PLR0913, PLR0917 -- a row
    pattern: str,
    names: tuple[str, ...],
    ip: str,
    port: int | None,
    protocol: str,
    covered: object,
) -> None:
    assert parse_pattern(pattern).covers(names, ip, port, protocol) is covered


@pytest.mark.parametrize(
    "pattern",
    [
        "[::ffff:192.0.2.1]:8080",
        "[::ffff:c000:201]",
        "192.0.2.1:8080/icmp",
        "any:1/icmp",
        "0.0.0.0:80",
        "[::]:80",
        "fe80::1%lo",
        "192.0.2.0/24",
        "192.0.2.1.:80",
        "127.1:80",
    ],
)
def test_what_no_record_can_have_is_refused(pattern: str) -> None:
    with pytest.raises(RefusedError):
        parse_pattern(pattern)


@pytest.mark.parametrize("pattern", ["any", "any:8080", "ANY/tcp"])
def test_any_is_what_leaves_this_machine(pattern: str) -> None:
    assert parse_pattern(pattern).is_any
    assert not parse_pattern(pattern).is_exact
