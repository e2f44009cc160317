"""Whom a certificate is for (RFC 9525)."""

import pytest

from egressmon.tls.hosts import is_for
from egressmon.tls.targets import Target


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.org", "example.org"),
        ("example.org.", "example.org"),
        ("*.example.org", "a.example.org"),
        ("*.EXAMPLE.org", "a.example.org"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_a_name_is_for(name: str, host: str) -> None:
    assert is_for(["other.example", name], Target(host, 443))


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("example.org", "a.example.org"),
        ("*.example.org", "example.org"),
        ("*.example.org", "a.b.example.org"),
        ("a*.example.org", "ab.example.org"),
        ("*a.example.org", "ba.example.org"),
        ("a.*.org", "a.example.org"),
        ("*.org", "example.org"),
        ("*", "localhost"),
        ("*", "example.org"),
        ("*.2.7", "192.0.2.7"),
        ("*.0.2.7", "192.0.2.7"),
        ("", "example.org"),
        ("example.org\0.evil.example", "example.org"),
        ("example.org\n", "example.org"),
    ],
)
def test_a_name_is_not_for(name: str, host: str) -> None:
    assert not is_for([name], Target(host, 443))


def test_a_certificate_without_names_is_for_nobody() -> None:
    assert not is_for([], Target("example.org", 443))
