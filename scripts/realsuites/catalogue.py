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
            # Without what waits for an address on another machine, or sleeps.
            ("tests", "-k", "not TestTimeout and not test_server_finishes"),
        ),
        Suite(
            "urllib3",
            "2.5.0",
            "3fc47733c7e419d4bc3f6b3dc2b4f890bb743906a30d56ba4a5bfa4bbff92760",
            "blocking sockets; asyncio and trio servers in threads, TLS, proxies",
            # Others wait for what only its own, patched server answers.
            (
                "test/with_dummyserver/test_connectionpool.py",
                "test/with_dummyserver/test_https.py",
            ),
        ),
        Suite(
            "aiohttp",
            "3.14.5",
            "5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178",
            "asyncio: tasks that race for addresses, connectors, proxies",
            ("tests/test_client_functional.py", "tests/test_web_functional.py"),
        ),
        Suite(
            "tornado",
            "6.5.2",
            "ab53c8f9a0fa351e2c0741284e06c7a45da86afb544133201c5cc8578eb076a0",
            "unittest classes; callbacks of asyncio's loop, child processes",
            ("tornado/test", "-o", "python_files=*_test.py"),
            {"ASYNC_TEST_TIMEOUT": "25"},  # as its own CI has it
        ),
        Suite(
            "anyio",
            "4.16.0",
            "59bb03251907983d1603d27c3087ddb1e93299ea2163adcdba37899a4fb12ffb",
            "each test on asyncio, uvloop and trio",
            # Without what wants the name localhost to have an IPv6 address.
            ("tests/test_sockets.py", "tests/streams", "-k", "not ipv6"),
        ),
    )
}
