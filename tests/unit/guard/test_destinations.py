"""`HostName`, `HostPort`, and the error that a refused one raises."""

import ipaddress
import pickle

import pytest

from egressmon.guard import EgressViolation, HostName, HostPort


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("API.Example.org.", "api.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
    ],
)
def test_a_host_name_is_in_canonical_form(text: str, name: str) -> None:
    assert HostName(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "https://a.example", "a.example/x", "a.example:1", "*.a.example", "192.0.2.7",
     "::1", "a b", "-a.example", "a..example", "1.2", "x" * 64 + ".example"],
)  # fmt: skip
def test_what_is_no_host_name_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        HostName(text)


def test_a_destination_has_a_name_or_an_address() -> None:
    assert HostPort.parse("A.example:443") == HostPort(HostName("a.example"), 443)
    found = HostPort.parse("[2001:db8::1]:53/udp")
    assert found == HostPort(ipaddress.ip_address("2001:db8::1"), 53, "udp")
    assert str(found) == "[2001:db8::1]:53/udp"
    assert HostPort.parse("[::ffff:192.0.2.7]:1") == HostPort.parse("192.0.2.7:1")


@pytest.mark.parametrize(
    "text", ["a.example", ":443", "a.example:", "a.example:x", "a.example:0",
             "a.example:65536", "[x]:1", "2001:db8::1:443", "http://a.example:443"],
)  # fmt: skip
def test_what_is_no_destination_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        HostPort.parse(text)


def test_a_violation_is_a_permission_error_that_can_be_pickled() -> None:
    violation = EgressViolation("a.example", 443, "no entry")

    again = pickle.loads(pickle.dumps(violation))  # noqa: S301 -- our own

    assert isinstance(violation, PermissionError)
    assert isinstance(again, EgressViolation)
    assert (again.errno, again.host, again.port) == (1, "a.example", 443)
    assert str(again) == "[Errno 1] egress to a.example:443: no entry"


def test_a_violations_text_has_no_token_and_is_one_line() -> None:
    token = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
    host = f"{token}.example.org"

    violation = EgressViolation(f"{host}\n::error::x", 443, f"no entry covers {host}")
    again = pickle.loads(pickle.dumps(violation))  # noqa: S301 -- our own

    assert token not in str(violation)
    assert token not in repr(violation)
    assert "\n" not in str(violation)
    assert (again.host, again.reason) == (violation.host, violation.reason)
    assert token in again.reason


@pytest.mark.parametrize("odd", [None, 5, b"api.example.org:443"])
def test_what_is_no_text_is_no_destination(odd: object) -> None:
    with pytest.raises(ValueError, match="is no destination"):
        HostPort.parse(odd)
