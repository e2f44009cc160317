"""The pytest plugin: `--egress-cassettes`. Without that option, it does nothing.

It is imported in each pytest of an environment that has egressmon, so all that it does
is in `cassettes/session.py`, which is imported where the option is given.
"""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("egressmon").addoption(
        "--egress-cassettes",
        action="store_true",
        default=False,
        help="only play cassettes: fail each test that asks for the network or misses "
        "its cassette; while recording, keep secrets out of cassettes",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register what does the work, if it is asked for."""
    if config.getoption("--egress-cassettes"):
        from egressmon.cassettes.session import begin  # noqa: PLC0415 -- seldom

        begin(config)
