"""The pytest plugin: `--egress-cassettes`, `--egress-guard`. Without, it does nothing.

It is imported in each pytest of an environment that has egressmon, so all that it does
is in `cassettes/session.py` and `testing/`, imported where they are asked for.
"""

from collections.abc import Iterator
from typing import Any

import pytest

_GUARD = "egressmon-guard"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("egressmon")
    group.addoption(
        "--egress-cassettes",
        action="store_true",
        default=False,
        help="only play cassettes: fail each test that asks for the network or misses "
        "its cassette; while recording, keep secrets out of cassettes",
    )
    group.addoption(
        "--egress-guard",
        action="store_true",
        default=False,
        help="refuse what the project's policy does not allow, loopback too, and fail "
        "the test that asked for it",
    )
    parser.addini("egress_guard", "as --egress-guard", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register what does the work, if it is asked for."""
    config.addinivalue_line(
        "markers",
        "egress(*destinations): with --egress-guard, narrow the test to these, each "
        "HOST:PORT, of what the policy allows",
    )
    if config.getoption("--egress-cassettes"):
        from egressmon.cassettes.session import begin  # noqa: PLC0415 -- seldom

        begin(config)
    if config.getoption("--egress-guard") or config.getini("egress_guard"):
        from egressmon.testing import session  # noqa: PLC0415 -- as above

        session.begin(config)


@pytest.fixture
def egress_loopback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the test's own thread and context reach loopback, until it ends."""
    if not request.config.pluginmanager.has_plugin(_GUARD):
        yield
        return
    from egressmon.testing import loopback  # noqa: PLC0415 -- only under the guard

    with loopback.opened(request):
        yield


@pytest.fixture
def egress_violations(request: pytest.FixtureRequest) -> list[Any]:
    """Return what was refused to the test so far: those that it removes do not fail it.

    Each has `host`, `address`, `port`, `kind`, `reason` and `caller`.
    """
    session = request.config.pluginmanager.get_plugin(_GUARD)
    return [] if session is None else session.violations
