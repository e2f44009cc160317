"""The test suites: real ones, from PyPI's sdists, that need nothing but loopback."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Suite:
    """A project on PyPI, and which of its tests are run, and how."""

    name: str
    version: str
    sha256: str
    """Of its sdist."""
    about: str
    """What is special about how it connects."""
    options: tuple[str, ...]
    """What pytest gets."""
    environment: dict[str, str] = field(default_factory=dict[str, str])


# The same for all: no cache, and no other options than those here (-n auto, --cov).
COMMON = ("-q", "-p", "no:cacheprovider", "-o", "addopts=")

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "requests",
            "2.32.5",
            "dbba0bac56e100853db0ea71b82b4dfd5fe2bf6d3754a8893c3af500cec7d7cf",
            "blocking sockets; servers in threads, for the session and for a test",
            ("tests",),
        ),
        Suite(
            "urllib3",
            "2.5.0",
            "3fc47733c7e419d4bc3f6b3dc2b4f890bb743906a30d56ba4a5bfa4bbff92760",
            "blocking sockets; asyncio and trio servers in threads, TLS, proxies",
            ("test",),
        ),
        Suite(
            "aiohttp",
            "3.14.5",
            "5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178",
            "asyncio, tasks that race for addresses, uvloop in some tests",
            ("tests",),
        ),
        Suite(
            "tornado",
            "6.6.1",
            "28e6311402af59c8b02e3fa0f5e7d8eb465b25081381803b127d97e6a4395d5a",
            "unittest classes; callbacks of asyncio's loop, child processes",
            ("tornado/test",),
        ),
        Suite(
            "anyio",
            "4.16.0",
            "59bb03251907983d1603d27c3087ddb1e93299ea2163adcdba37899a4fb12ffb",
            "each test on asyncio, uvloop and trio",
            ("tests",),
        ),
    )
}
