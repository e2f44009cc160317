"""Whether a canary casts doubt depends on its errno, not on the text of the reason."""

import dataclasses
import errno

import pytest

from egressmon.sensor.canary import (
    Attempt,
    CanaryWatch,
    failed,
    make_plan,
    pack_attempts,
    unpack_attempts,
)


@pytest.mark.parametrize(
    ("number", "symbol", "doubted"),
    [
        (errno.EAFNOSUPPORT, "EAFNOSUPPORT", False),
        (errno.EADDRINUSE, "EADDRINUSE", True),
        (errno.ENETUNREACH, "ENETUNREACH", True),
        (None, None, True),  # it was sent, and the probes did not report it
    ],
)
def test_a_doubt_hangs_on_the_error_number(
    number: int | None,
    symbol: str | None,
    doubted: bool,  # noqa: FBT001
) -> None:
    watch = CanaryWatch()
    watch.begin(make_plan())
    attempt = Attempt("connect6/tcp", "2001:db8::1", refused=False, errno=number)
    (record,) = watch.records("end", unpack_attempts(pack_attempts([attempt])))

    assert record.errno == symbol
    for reason in (
        record.reason,
        "in another language",
        "Address family not supported by protocol",
    ):
        said = dataclasses.replace(record, reason=reason)
        assert bool(failed([said])) is doubted
