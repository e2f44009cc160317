"""Changes of the network by the kernel itself cast no doubt; those of others do."""

import struct

import pytest

from egressmon.sensor.surroundings import _is_the_kernels  # pyright: ignore[reportPrivateUsage]

_NEW_ROUTE, _NEW_ADDRESS, _NEW_LINK = 24, 20, 16
_MADE_BY = 11  # IFA_PROTO


def route(protocol: int) -> bytes:
    """Return a struct rtmsg of a route whose rtm_protocol is `protocol`."""
    return struct.pack("=BBBBBBBBI", 10, 64, 0, 0, 254, protocol, 0, 1, 0)


def address(made_by: int | None) -> bytes:
    """Return a struct ifaddrmsg, with `made_by` as the attribute IFA_PROTO if given."""
    body = struct.pack("=BBBBi", 10, 64, 0, 0, 1)
    if made_by is None:
        return body
    return body + struct.pack("=HHB3x", 5, _MADE_BY, made_by)


@pytest.mark.parametrize(("protocol", "is_kernels"), [(2, True), (9, True), (3, False)])
def test_a_route_of_the_kernels_own_is_told_from_one_that_was_asked_for(
    protocol: int,
    is_kernels: bool,  # noqa: FBT001 -- a value
) -> None:
    assert _is_the_kernels(_NEW_ROUTE, route(protocol)) is is_kernels


@pytest.mark.parametrize(
    ("made_by", "is_kernels"), [(2, True), (3, True), (None, False)]
)
def test_an_address_by_autoconfiguration_is_the_kernels(
    made_by: int | None,
    is_kernels: bool,  # noqa: FBT001 -- a value
) -> None:
    assert _is_the_kernels(_NEW_ADDRESS, address(made_by)) is is_kernels


def test_a_device_is_never_the_kernels() -> None:
    assert not _is_the_kernels(_NEW_LINK, bytes(16))
