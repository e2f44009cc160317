"""Calls from the same places, while what is mapped changes: all known, and rightly."""

import errno
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import HTTP_PORT, SERVER4
from support.watching import Json, Watched

Watch = Callable[..., Watched]
Compile = Callable[..., str]
SITES = Path(__file__).parent / "sources/sites.py"
PORT = 1000
PYTHONS = sorted(map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3"))) or [
    sys.executable
]
NO_BYPASS = f"""
version = 1
enforce = "fail"
bypass = "violation"
[dns]
queries = "any"
[[allow]]
cidr = "{SERVER4}"
ports = [53, {HTTP_PORT}]
protocol = "any"
"""


def by_port(run: Watched) -> dict[int, Json]:
    """Return the connections by the port that they went to."""
    return {one["dst"]["port"]: one for one in run.of("connection")}


def callers(run: Watched) -> list[str]:
    """Return the names of the calling modules in the order of the calls."""
    assert run.status == 0, run.stderr
    found = by_port(run)
    for record in found.values():
        assert record["module"] is not None, record["module_reason"]
    return [
        str(found[port]["module"]["caller"]["path"]).rpartition("/")[2]
        for port in sorted(found)
        if port >= PORT
    ]


def sites(tmp_path: Path, python: str, what: str, *words: str) -> list[str]:
    """Return the command line of sites.py."""
    return [python, str(SITES), what, str(tmp_path / "evidence.jsonl"), *words]


# The server is allowed, so that it is the bypass that would be in violation.
@pytest.mark.userspace
@pytest.mark.parametrize("interpreter", PYTHONS)
def test_lazy_imports_make_no_call_unknown(
    watched: Watch, tmp_path: Path, interpreter: str
) -> None:
    (extensions,) = Path(interpreter).parents[1].glob("lib/python3.*/lib-dynload")
    to = (str(extensions), SERVER4, str(HTTP_PORT))

    run = watched(*sites(tmp_path, interpreter, "imports", *to), policy=NO_BYPASS)

    assert run.status == 0, run.stderr
    records = run.of("connection")
    assert len(records) >= 400
    assert {one["route"] for one in records} == {"python-socket"}
    assert run.end["unknown_modules"] == 0


def test_libraries_that_take_turns_are_never_taken_for_each_other(
    watched: Watch, compiled: Compile, tmp_path: Path
) -> None:
    libraries = [compiled("plug", f"plug{i}.so", "-shared", "-fPIC") for i in "AB"]

    run = watched(*sites(tmp_path, sys.executable, "libraries", *libraries))

    assert callers(run) == [f"plug{'AB'[i // 8 % 2]}.so" for i in range(48)]
    ends = Counter(one["module"]["chain_end"] for one in run.of("connection"))
    # Beyond what was replaced, nothing is claimed.
    assert set(ends) <= {None, "the mappings changed as the call was made"}


def test_children_that_have_the_same_memory_in_turns(
    watched: Watch, tmp_path: Path
) -> None:
    run = watched(*sites(tmp_path, sys.executable, "children"))

    assert len(callers(run)) == 120
    assert {one["route"] for one in run.of("connection")} == {"python-socket"}
    assert not any(one["claimed"] for one in run.of("connection"))


def test_a_program_that_executes_itself_at_the_same_addresses(
    watched: Watch, tmp_path: Path
) -> None:
    words = sites(tmp_path, sys.executable, "programs", "0")

    run = watched("setarch", "-R", *words)

    assert len(callers(run)) == 60
    assert {one["route"] for one in run.of("connection")} == {"python-socket"}


@pytest.mark.smoke
def test_shared_memory_and_code_made_at_run_time(
    watched: Watch, compiled: Compile
) -> None:
    program = compiled("memory", "memory", "-ldl")
    library = compiled("plug", "plugA.so", "-shared", "-fPIC")

    run = watched(program, str(PORT), library)

    assert callers(run) == ["memory"] * 20 + ["plugA.so"] * 20 + ["None"] * 20
    assert [by_port(run)[PORT + 40 + i]["route"] for i in range(20)] == [
        "unbacked"
    ] * 20


# It is told of as the socket is closed, with the time of the call.
@pytest.mark.smoke
def test_a_call_that_sends_nothing_is_known(watched: Watch) -> None:
    code = (
        "import socket\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "    with socket.socket(type=kind) as one:\n"
        "        try: one.sendto(b'', ('198.51.100.1', 9)) if kind == 2 else "
        "one.connect(('198.51.100.1', 8))\n"
        "        except OSError as error: print(error.errno)\n"
    )

    run = watched(sys.executable, "-c", code)

    assert run.stdout.split() == [str(errno.ENETUNREACH)] * 2
    assert [one["dst"]["port"] for one in run.of("connection")] == [8, 9]
    assert {one["route"] for one in run.of("connection")} == {"python-socket"}


# gethostbyaddr has a buffer as large as the copy of a stack.
@pytest.mark.userspace
@pytest.mark.parametrize("interpreter", [*PYTHONS, "/usr/bin/python3"])
def test_a_reverse_look_up_is_no_bypass(watched: Watch, interpreter: str) -> None:
    code = (
        "import socket\n"
        f"socket.getfqdn('{SERVER4}')\n"
        "try: socket.gethostbyaddr('10.213.7.99')\n"
        "except OSError: pass\n"
    )

    run = watched(interpreter, "-c", code, policy=NO_BYPASS)

    records = run.of("connection") + run.of("dns")
    assert any(re.search("in-addr", one.get("name") or "") for one in records)
    assert {one["route"] for one in records} == {"python-socket"}
    assert {one["bypass"] for one in records} == {False}


@pytest.mark.smoke
@pytest.mark.parametrize("size", [500, 5000, 9000, 15000])
def test_pages_of_the_stack_that_are_not_there(
    watched: Watch, compiled: Compile, size: int
) -> None:
    run = watched(compiled("holes", "holes", "-pthread"), str(PORT), str(size))

    assert callers(run) == ["holes"] * 3
    ends = [by_port(run)[PORT + i]["module"]["chain_end"] for i in range(3)]
    # makecontext(3) begins in code that has no table; with arm64's glibc 2.41 it has
    # one, which says that nobody called it.
    assert ends in ([None, "no unwind tables", None], [None] * 3)
