"""pytest's report of a watched run: what the kernel saw around the guard, by test."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.watching import Watched

Watch = Callable[..., Watched]
TESTS = """
import ctypes, socket, subprocess, sys
ADDRESS = b"\\2\\0\\0\\11" + socket.inet_aton("127.0.0.2") + bytes(8)
LEAVE = "import socket; socket.socket().connect_ex(('127.0.0.3', 7))"
def test_native():
    libc = ctypes.CDLL(None)
    descriptor = libc.socket(2, 1, 0)
    libc.connect(descriptor, ADDRESS, 16)
    libc.close(descriptor)
def test_child():
    subprocess.run([sys.executable, "-I", "-S", "-c", LEAVE])
def test_guarded():
    socket.socket().connect_ex(("127.0.0.4", 5))
"""
POLICY = """
version = 1
[[allow]]
cidr = "127.0.0.0/8"
ports = "any"
"""
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--egress-guard")


@pytest.fixture
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tests that go around the guard, and a policy.

    The evidence is neither there nor above.
    """
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_it.py").write_text(TESTS)
    (folder / "egress.toml").write_text(POLICY)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def section(run: Watched) -> str:
    """Return pytest's section `egress`."""
    return run.stdout.partition("= egress =")[2]


def test_of_two_runs_each_has_its_own(watched: Watch, suite: Path) -> None:
    only = [f"'{sys.executable}'", *PYTEST[1:], f"'{suite}'", "-k"]

    run = watched(
        "sh", "-c", f"{' '.join(only)} native; {' '.join(only)} child", policy=POLICY
    )

    first, second = run.stdout.split("= egress =")[1:]
    assert "test_native (call)" in first
    assert "test_child" not in first
    assert "test_child (call)" in second
    assert "test_native" not in second
    assert "1 connections around a guard by what this pytest did not start" in second


def test_the_tests_that_went_around_the_guard_are_named(
    watched: Watch, suite: Path
) -> None:
    run = watched(*PYTEST, str(suite), policy=POLICY)

    seen = [one for one in section(run).splitlines() if "seen by the kernel" in one]
    assert len(seen) == 2
    assert "test_it.py::test_native (call): " in seen[0]
    assert "127.0.0.2:9/tcp (by route native; " in seen[0]
    assert "test_it.py::test_child (call): " in seen[1]
    assert "127.0.0.3:7/tcp (unguarded child of a guarded process; " in seen[1]
    assert run.end["guard"]["bypassed"] == 2


def test_where_the_evidence_is_not_found_it_says_where_to_look(
    watched: Watch, suite: Path
) -> None:
    enter = f"cd {suite} && exec {' '.join(PYTEST)}"
    run = watched("sh", "-c", enter, policy=POLICY)

    said = "the run's evidence is not found here: egressmon's own summary"
    assert said in section(run)
    assert "seen by the kernel" not in run.stdout
