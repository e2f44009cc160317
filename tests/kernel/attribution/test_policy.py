"""Policies that ask who did it."""

from collections.abc import Callable

import pytest

from support.lab import HTTP_PORT, SERVER4
from support.watching import Watched

Watch = Callable[..., Watched]

PYTHON = "import socket; socket.create_connection(('{server}', {port})).close()"
CTYPES = """
import ctypes, socket, struct
libc = ctypes.CDLL(None)
peer = struct.pack('=HH4s8x', 2, socket.htons({port}), socket.inet_aton('{server}'))
libc.connect(libc.socket(2, 1, 0), peer, 16)
"""
ENTRY = """
version = 1
enforce = "fail"
{head}
[[allow]]
cidr = "{server}"
ports = [{port}]
{by}
"""


def policy(head: str = "", by: str = "") -> str:
    """Return a policy that allows the lab's server."""
    return ENTRY.format(head=head, by=by, server=SERVER4, port=HTTP_PORT)


def code(text: str) -> str:
    """Return a client's code for the lab's server."""
    return text.format(server=SERVER4, port=HTTP_PORT)


@pytest.mark.parametrize(
    ("text", "client", "status", "why"),
    [
        (policy(), CTYPES, 0, ""),
        (policy('bypass = "violation"'), PYTHON, 0, ""),
        (policy('bypass = "violation"'), CTYPES, 120, "bypasses the language's own"),
        (policy(by='by = { route = ["python-socket"] }'), PYTHON, 0, ""),
        (policy(by='by = { route = ["python-socket"] }'), CTYPES, 120, "only by route"),
        (policy(by='by = { module = ["libffi*"] }'), CTYPES, 0, ""),
        (policy(by='by = { module = ["libcurl*"] }'), PYTHON, 120, "only by module"),
        (policy(by='by = { exe = ["*/python3*"] }'), PYTHON, 0, ""),
        (policy(by='by = { exe = ["*/node"] }'), PYTHON, 120, "only by exe"),
        (policy(by='by = { package = ["anthropic"] }'), PYTHON, 120, "only by package"),
    ],
)
def test_who_may(watched: Watch, text: str, client: str, status: int, why: str) -> None:
    run = watched("python3", "-c", code(client), policy=text)

    assert run.status == status, run.stderr
    (record,) = run.of("connection")
    assert why in record["reason"]
    if status:
        assert record["verdict"] == "violation"


def test_what_is_unknown_may_not(watched: Watch) -> None:
    run = watched(
        "python3",
        "-c",
        code(PYTHON),
        policy=policy('bypass = "violation"'),
        options=["--attribution", "process"],
    )

    assert run.status == 120
    (record,) = run.of("connection")
    assert "whether it is a bypass is not known" in record["reason"]


def test_a_summary_counts_bypasses(watched: Watch) -> None:
    run = watched("python3", "-c", code(CTYPES), policy=policy())

    assert run.end["bypasses"] == 1
    assert "1 bypass of the language's own sockets: 1 by libffi" in run.stderr
