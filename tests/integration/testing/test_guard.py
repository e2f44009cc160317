"""`pytest --egress-guard`: real runs of pytest, in processes of their own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.guarded import POLICY, written

REACH = 'socket.create_connection(("127.0.0.2", 9), timeout=5)'


def run(
    folder: Path,
    tests: str,
    *options: str,
    guard: bool = True,
    policy: str | None = POLICY,
) -> subprocess.CompletedProcess[str]:
    """Run `tests` under pytest, with a policy beside them, if there is one."""
    if policy is not None:
        written(folder, policy)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    program = "import pytest, socket\n" + textwrap.dedent(tests)
    (folder / "test_it.py").write_text(program)
    asked = ["--egress-guard"] if guard else []
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *asked, *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )


SWALLOWED = """
def test_hides_it():
    try:
        socket.create_connection(("198.51.100.7", 443))
    except OSError:
        pytest.skip("no network")

def test_is_fine():
    pass
"""


def test_a_violation_fails_its_test_though_the_client_hid_it(tmp_path: Path) -> None:
    done = run(tmp_path, SWALLOWED)

    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "refused 198.51.100.7:443 (connect)" in done.stdout
    assert "test_it.py:5 in test_hides_it" in done.stdout
    assert 'cidr = "198.51.100.7"' in done.stdout
    assert "= egress =" in done.stdout


def test_nothing_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    tests = f"""
    from egressmon.guard import EgressGuard
    def test_it(egress_loopback, egress_violations):
        assert not EgressGuard.is_installed()
        with pytest.raises(ConnectionRefusedError):
            {REACH}
    """

    assert run(tmp_path, tests, guard=False).returncode == 0
    done = run(tmp_path, "def test_it(): pass", "-p", "no:egressmon", guard=False)
    assert done.returncode == 0


def test_the_ini_file_asks_for_it(tmp_path: Path) -> None:
    assert run(tmp_path, SWALLOWED, "-o", "egress_guard=true", guard=False).returncode


def test_what_a_test_expects_does_not_fail_it(tmp_path: Path) -> None:
    tests = """
    def test_it(egress_violations):
        with pytest.raises(PermissionError):
            socket.create_connection(("198.51.100.7", 443))
        assert egress_violations.pop().host == "198.51.100.7"
    """

    assert run(tmp_path, tests).returncode == 0


def test_a_mark_narrows_the_test_and_its_threads(tmp_path: Path) -> None:
    tests = f"""
    import threading
    @pytest.mark.egress("localhost:9")
    def test_narrowed():
        one = threading.Thread(target=lambda: pytest.raises(OSError, lambda: {REACH}))
        one.start(); one.join()
    @pytest.mark.egress("127.0.0.2:9")
    def test_named():
        with pytest.raises(ConnectionRefusedError):
            {REACH}
    def test_after():
        with pytest.raises(ConnectionRefusedError):
            {REACH}
    """

    done = run(tmp_path, tests)

    assert "1 failed, 2 passed" in done.stdout
    assert "pinned to localhost:9" in done.stdout


def test_a_mark_that_the_policy_does_not_allow_is_an_error(tmp_path: Path) -> None:
    tests = """
    @pytest.mark.egress("api.example.org:443")
    def test_refused(): pass
    @pytest.mark.egress("https://api.example.org")
    def test_malformed(): pass
    """

    done = run(tmp_path, tests)

    assert "2 errors" in done.stdout
    assert "no allow entry covers api.example.org:443/tcp" in done.stdout
    assert "is no destination" in done.stdout


LOOPBACK = """
import asyncio, contextvars, threading
kept = []
def server():
    return socket.create_server(("127.0.0.1", 0))
def test_open(egress_loopback):
    with server() as one:
        socket.create_connection(one.getsockname()).close()
        kept.append(contextvars.copy_context())
def test_open_in_tasks(egress_loopback):
    async def main():
        one = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*one.sockets[0].getsockname())
        writer.close(); one.close()
    asyncio.run(main())
def test_not_in_other_threads(egress_loopback, egress_violations):
    def work():
        with server() as one, pytest.raises(PermissionError):
            socket.create_connection(one.getsockname())
    thread = threading.Thread(target=kept[0].copy().run, args=(work,))
    thread.start(); thread.join()
    assert len(egress_violations) == 1
    egress_violations.clear()
def test_not_after(egress_violations):
    with server() as one, pytest.raises(PermissionError):
        socket.create_connection(one.getsockname())
    with server() as one, pytest.raises(PermissionError):
        kept[0].run(socket.create_connection, one.getsockname())
    egress_violations.clear()
@pytest.mark.egress("localhost:9")
def test_beside_a_mark(egress_loopback):
    with server() as one:
        socket.create_connection(one.getsockname()).close()
"""


def test_the_fixture_opens_loopback_to_its_test_alone(tmp_path: Path) -> None:
    done = run(tmp_path, LOOPBACK)

    assert done.returncode == 0, done.stdout


TOKEN = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"


def test_a_token_in_a_host_name_is_masked(tmp_path: Path) -> None:
    tests = f"""
    TOKEN = "ghp_" + "{TOKEN[4:]}"
    def test_it():
        socket.getaddrinfo(TOKEN + ".example.org", 443)
    """

    done = run(tmp_path, tests, "--tb=no")

    assert done.returncode == 1
    assert ".example.org (lookup)" in done.stdout
    assert TOKEN.lower() not in (done.stdout + done.stderr).lower()


def test_a_violation_outside_of_tests_fails_the_run(tmp_path: Path) -> None:
    tests = """
    try:
        socket.create_connection(("198.51.100.7", 443))
    except OSError:
        pass
    def test_it(): pass
    """

    done = run(tmp_path, tests)

    assert done.returncode == 1
    assert "outside of tests: refused 198.51.100.7:443" in done.stdout


def test_children_without_the_guard_are_told_of(tmp_path: Path) -> None:
    tests = """
    import subprocess
    def test_it(): subprocess.run(["true"])
    """

    done = run(tmp_path, tests)

    assert done.returncode == 0
    assert "unguarded child: " in done.stdout


def test_without_a_policy_the_run_does_not_begin(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_it(): pass", policy=None)

    assert done.returncode == 4
    assert "--egress-guard: no policy file was found there or above" in done.stderr
    assert "passed" not in done.stdout


def test_with_a_wrong_policy_the_run_does_not_begin(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_it(): pass", policy="version = 3")

    assert done.returncode == 4
    assert "--egress-guard: " in done.stderr


def test_with_xdist_the_controller_tells_of_it(tmp_path: Path) -> None:
    done = run(tmp_path, SWALLOWED, "-n", "2")

    assert "1 failed, 1 passed" in done.stdout
    assert "test_it.py::test_hides_it: refused 198.51.100.7:443" in done.stdout


@pytest.mark.parametrize("beside", ["pytest_asyncio", "anyio", "pytest_socket"])
def test_it_works_beside_other_plugins(tmp_path: Path, beside: str) -> None:
    tests = {
        "pytest_asyncio": "@pytest.mark.asyncio\nasync def test_async",
        "anyio": (
            "@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
            "@pytest.mark.anyio\nasync def test_async"
        ),
        "pytest_socket": "def test_sync",
    }[beside]
    keyword = "await asyncio.sleep(0)" if beside != "pytest_socket" else "pass"
    tests += f"""(egress_loopback, egress_violations):
    import asyncio
    {keyword}
    with socket.create_server(("127.0.0.1", 0)) as one:
        socket.create_connection(one.getsockname()).close()
    with pytest.raises(PermissionError):
        socket.create_connection(("198.51.100.7", 443))
    egress_violations.pop()
"""
    options = ("-o", "asyncio_default_fixture_loop_scope=function")

    done = run(tmp_path, tests, *(options if beside == "pytest_asyncio" else ()))

    assert done.returncode == 0, done.stdout
