"""Which destination an audit event asks for."""

import os
import socket

import pytest

from egressmon.guard.attempts import Attempt, attempt_of
from egressmon.guard.violation import EgressViolation


def connected(
    address: object,
    family: socket.AddressFamily = socket.AF_INET,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> Attempt | None:
    with socket.socket(family, kind) as one:
        return attempt_of("socket.connect", (one, address))


@pytest.mark.parametrize(
    ("address", "family", "host", "port"),
    [
        (("192.0.2.7", 443), socket.AF_INET, "192.0.2.7", 443),
        ((b"192.0.2.7", 443), socket.AF_INET, "192.0.2.7", 443),
        ((bytearray(b"192.0.2.7"), True), socket.AF_INET, "192.0.2.7", 1),
        (("0.0.0.0", 1), socket.AF_INET, "127.0.0.1", 1),  # noqa: S104
        (("", 1), socket.AF_INET, "127.0.0.1", 1),
        (("<broadcast>", 1), socket.AF_INET, "255.255.255.255", 1),
        (("fe80::1%2", 1, 0, 2), socket.AF_INET6, "fe80::1", 1),
        (("::ffff:192.0.2.7", 1), socket.AF_INET6, "192.0.2.7", 1),
        (("::", 1), socket.AF_INET6, "::1", 1),
        (("", 1), socket.AF_INET6, "::1", 1),
    ],
)
def test_an_address_is_taken_as_it_leaves(
    address: object, family: socket.AddressFamily, host: str, port: int
) -> None:
    found = connected(address, family)

    assert found is not None
    assert (found.host, str(found.address), found.port) == (host, host, port)


def test_a_name_is_in_canonical_form() -> None:
    found = connected(("API.Example.org.", 443))

    assert found == Attempt("connect", "api.example.org", None, 443, "tcp")


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.0.0.1", "010.0.0.1", " 192.0.2.7", "192.0.2.7%1", "1"]
)
def test_an_ambiguous_spelling_is_refused(host: str) -> None:
    with pytest.raises(EgressViolation, match="ambiguous"):
        connected((host, 443))


@pytest.mark.parametrize("host", ["192.0.2.7", "127.1", "0x7f000001", "::1", "", None])
def test_what_needs_no_look_up_is_none(host: str | None) -> None:
    arguments = (host, 443, 0, 0, 0)

    assert attempt_of("socket.getaddrinfo", arguments) is None


@pytest.mark.parametrize("host", ["192.0.2.7.", "a.1.2", "192.0.2.7 x", "1.2.3.4%x"])
def test_what_only_looks_like_an_address_is_a_look_up(host: str) -> None:
    found = attempt_of("socket.getaddrinfo", (host, 443, 0, 0, 0))

    assert found is not None
    assert found.kind == "lookup"


def test_protocols_are_those_of_the_socket() -> None:
    found = connected(("192.0.2.7", 53), kind=socket.SOCK_DGRAM)

    assert found is not None
    assert found.protocol == "udp"


def test_a_subclass_cannot_say_that_it_is_of_another_family() -> None:
    lying = type(
        "Lying", (socket.socket,), {"family": property(lambda _: socket.AF_UNIX)}
    )

    with lying() as one:
        found = attempt_of("socket.connect", (one, ("192.0.2.7", 443)))

    assert found is not None


def test_unix_sockets_and_connected_ones_are_no_destination() -> None:
    assert connected("/run/x", socket.AF_UNIX) is None
    with socket.socket() as one:
        assert attempt_of("socket.sendmsg", (one, None)) is None
        assert attempt_of("socket.bind", (one, ("127.0.0.1", 0))) is None


def test_a_family_of_which_no_policy_speaks_is_refused() -> None:
    with pytest.raises(EgressViolation, match="AF_VSOCK"):
        connected((2, 9), socket.AF_VSOCK)


def test_a_packet_socket_is_refused_when_it_is_bound() -> None:
    try:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    except PermissionError as error:
        if os.environ.get("EGRESSMON_KERNEL_TESTS"):
            raise
        pytest.skip(str(error))
    with one, pytest.raises(EgressViolation, match="AF_PACKET"):
        attempt_of("socket.bind", (one, ("lo", 0)))


def test_a_host_of_another_type_is_refused() -> None:
    with pytest.raises(EgressViolation):
        connected((object(), 443))


class Twice:
    """A port that is another one when it is asked again."""

    def __init__(self) -> None:
        self.ports = [80, 81]

    def __index__(self) -> int:
        return self.ports.pop()


def test_a_port_that_may_change_is_refused() -> None:
    with socket.socket() as one, pytest.raises(EgressViolation, match="no number"):
        attempt_of("socket.connect", (one, ("192.0.2.7", Twice())))
