"""Loopback for one test: the fixture `egress_loopback`, and nothing else.

It holds in the thread and the context of the test, and ends with the fixture, whoever
kept a copy of the context.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import pytest

FIXTURE = "egress_loopback"


class _Grant:
    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_withdrawn = False


_GRANTED: ContextVar[_Grant | None] = ContextVar("egressmon.testing", default=None)


def is_open() -> bool:
    """Tell whether this thread and context has loopback."""
    grant = _GRANTED.get()
    return (
        grant is not None
        and not grant.is_withdrawn
        and grant.thread == threading.get_ident()
    )


@contextmanager
def opened(request: pytest.FixtureRequest) -> Generator[None]:
    """Open loopback for the test that asks by `request`, that of the fixture itself."""
    if request.fixturename != FIXTURE:
        raise RuntimeError(f"loopback is opened by the fixture {FIXTURE} alone")
    grant = _Grant()
    token = _GRANTED.set(grant)
    try:
        yield
    finally:
        grant.is_withdrawn = True
        with suppress(ValueError):  # torn down in another context
            _GRANTED.reset(token)
