"""Ways out of a Python process, each refused by the guard before anything leaves."""

from pathlib import Path

import pytest

from support.guarded import POLICY, lines, run

# Nothing is at 198.51.100.7 (RFC 5737), nor is there a way to it.
REFUSED = {
    "create_connection": 'socket.create_connection(("198.51.100.7", 443))',
    "connect": 'socket.socket().connect(("198.51.100.7", 443))',
    "of C": '__import__("_socket").socket(2, 1).connect(("198.51.100.7", 443))',
    "udp connect": 'socket.socket(2, 2).connect(("198.51.100.7", 443))',
    "sendto": 'socket.socket(2, 2).sendto(b"x", ("198.51.100.7", 443))',
    "sendto with flags": 'socket.socket(2, 2).sendto(b"x", 0, ("198.51.100.7", 443))',
    "sendmsg": 'socket.socket(2, 2).sendmsg([b"x"], [], 0, ("198.51.100.7", 443))',
    "bytes": 'socket.socket().connect((b"198.51.100.7", 443))',
    "mapped": 'socket.socket(10).connect(("::ffff:198.51.100.7", 443))',
    "inet6 with a scope": 'socket.socket(10).connect(("2001:db8::7", 443, 0, 0))',
    "a number": 'socket.socket().connect(("3325256711", 443))',
    "urllib": '__import__("urllib.request").request.urlopen("https://198.51.100.7")',
    "asyncio": """\
import asyncio
asyncio.run(asyncio.open_connection("198.51.100.7", 443))
""",
    "a thread": """\
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor() as pool:
    pool.submit(socket.create_connection, ("198.51.100.7", 443)).result()
""",
}


@pytest.mark.parametrize("way", REFUSED)
def test_a_way_out_is_refused(tmp_path: Path, way: str) -> None:
    code = f"attempt(lambda: exec({REFUSED[way]!r}))"

    found = lines(tmp_path, code)

    # urllib wraps the error in one of its own, as it does for an unreachable peer.
    assert len(found) == 1
    assert "198.51.100.7" in found[0] or "2001:db8::7" in found[0]
    assert found[0].startswith(("violation", "failed URLError(EgressViolation"))


def test_connect_ex_returns_the_error(tmp_path: Path) -> None:
    code = 'print(socket.socket().connect_ex(("198.51.100.7", 443)))'

    assert lines(tmp_path, code) == ["1"]  # EPERM


def test_what_the_policy_allows_is_reached(tmp_path: Path) -> None:
    code = """
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    attempt(lambda: socket.create_connection(("localhost", 9)))
    attempt(lambda: socket.socket().connect(("localhost", 9)))
    attempt(lambda: socket.socket(2, 2).sendto(b"x", ("127.0.0.2", 9)))
    """

    assert lines(tmp_path, code) == ["reached", "reached", "reached", "done"]


def test_loopback_is_refused_where_no_entry_covers_it(tmp_path: Path) -> None:
    code = """
    attempt(lambda: socket.create_connection(("127.0.0.1", 9)))
    attempt(lambda: socket.create_connection(("0.0.0.0", 9)))
    attempt(lambda: socket.create_connection(("::1", 9)))
    """

    found = lines(tmp_path, code)

    assert found[0] == found[1] == "violation 127.0.0.1 9"
    assert found[2] == "violation ::1 9"


@pytest.mark.parametrize(
    "call",
    [
        'socket.getaddrinfo("secret.example", 443)',
        'socket.gethostbyname("secret.example")',
        'socket.gethostbyname_ex("secret.example")',
        'socket.gethostbyaddr("secret.example")',
        'socket.getnameinfo(("198.51.100.7", 443), 0)',
        'socket.gethostbyaddr("198.51.100.7")',
        'socket.socket().connect(("secret.example", 443))',
        'socket.socket().connect_ex(("secret.example", 443)) or 1/0',
        'socket.socket().bind(("secret.example", 0))',
        'socket.socket(2, 2).sendto(b"", ("secret.example", 9))',
        'socket.socket(2, 2).sendmsg([b""], [], 0, ("secret.example", 9))',
        'socket.getaddrinfo("secret.1.2.3", 443)',
        'socket.getaddrinfo("192.0.2.7.", 443)',
    ],
)
def test_a_name_is_refused_before_anybody_is_asked(tmp_path: Path, call: str) -> None:
    # Audit events tell what C is asked to do: the look-up itself is not among them.
    code = f"""
    asked = []
    sys.addaudithook(lambda event, _: asked.append(event))
    attempt(lambda: {call})
    assert "socket.connect" not in asked
    """

    found = lines(tmp_path, code)

    assert found[0].startswith("violation") or call.endswith("1/0")


def test_names_that_are_not_ascii_are_judged_as_they_are_sent(tmp_path: Path) -> None:
    policy = 'version = 1\n[[allow]]\nhost = "xn--strae-oqa.example"\n'

    found = lines(
        tmp_path, 'attempt(lambda: socket.getaddrinfo("straße.example", 443))', policy
    )

    # CPython asks by IDNA 2003, which makes it strasse.example.
    assert found == ["violation strasse.example None"]


def test_a_patch_takes_it_off_nowhere(tmp_path: Path) -> None:
    code = """
    import _socket
    import egressmon.guard.guard, egressmon.guard.hook
    for cls in (socket.socket,):
        for name in ("connect", "connect_ex", "sendto", "sendmsg", "bind"):
            delattr(cls, name)
    EgressGuard.install = None
    egressmon.guard.hook.add = None
    attempt(lambda: socket.create_connection(("198.51.100.7", 443)))
    """

    assert lines(tmp_path, code) == ["violation 198.51.100.7 443"]


def test_what_is_no_egress_passes(tmp_path: Path) -> None:
    code = """
    import asyncio
    first, second = socket.socketpair()
    first.sendall(b"x"); assert second.recv(1) == b"x"
    asyncio.run(asyncio.sleep(0))
    server = socket.socket(socket.AF_UNIX)
    server.bind("\\0egressmon-test")
    server.listen()
    attempt(lambda: socket.socket(socket.AF_UNIX).connect("\\0egressmon-test"))
    attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).bind((0, 0)))
    listening = socket.create_server(("127.0.0.1", 0))
    """

    assert lines(tmp_path, code) == ["done", "done"]


def test_odd_families_are_refused(tmp_path: Path) -> None:
    code = "attempt(lambda: socket.socket(socket.AF_VSOCK).connect((2, 9)))"

    done = run(tmp_path, code)

    assert done.stdout == "violation None None\n"
    assert "no policy speaks of address family AF_VSOCK" in done.stderr


def test_a_refusal_is_logged_once_with_the_caller_outside_of_libraries(
    tmp_path: Path,
) -> None:
    program = tmp_path / "mine.py"
    program.write_text(
        "import urllib.request\n"
        "def fetch():\n"
        "    try:\n"
        '        urllib.request.urlopen("http://198.51.100.7/")\n'
        "    except OSError:\n"
        "        pass\n"
    )

    done = run(tmp_path, "import mine; mine.fetch(); mine.fetch()")

    assert done.stderr.count("refused: 198.51.100.7:80") == 1
    assert "mine.py:4 in fetch" in done.stderr


def test_fork_keeps_it(tmp_path: Path) -> None:
    code = """
    import os
    if not os.fork():
        attempt(lambda: socket.create_connection(("198.51.100.7", 443)))
        sys.stdout.flush(); os._exit(0)
    os.wait()
    """

    assert lines(tmp_path, code) == ["violation 198.51.100.7 443"]


def test_names_hold_for_all_threads_of_the_process(tmp_path: Path) -> None:
    policy = 'version = 1\n[[allow]]\nhost = "localhost"\nports = [9]\n'
    code = """
    import threading
    attempt(lambda: socket.create_connection(("127.0.0.1", 9)))
    one = threading.Thread(target=socket.getaddrinfo, args=("localhost", 9))
    one.start(); one.join()
    attempt(lambda: socket.create_connection(("127.0.0.1", 9)))
    """

    assert lines(tmp_path, code, policy) == ["violation 127.0.0.1 9", "reached"]


def test_two_policies_must_both_allow(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(
        'version = 1\n[[allow]]\nhost = "localhost"\nports = [9, 10]\n'
    )
    code = """
    EgressGuard.install("other.toml")
    EgressGuard.install("other.toml")
    attempt(lambda: socket.create_connection(("localhost", 9)))
    attempt(lambda: socket.create_connection(("localhost", 10)))
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    """

    found = lines(tmp_path, code)

    assert found[0] == "reached"
    assert found[1:] == ["violation localhost 10", "violation 127.0.0.2 9"]


def test_what_passed_is_judged_anew_where_more_is_asked(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("version = 1\n")
    reach = 'attempt(lambda: socket.create_connection(("127.0.0.2", 9)))'
    code = f"""
    {reach}
    with EgressGuard.pinned_to("localhost:9"):
        {reach}
    {reach}
    EgressGuard.install("other.toml")
    {reach}
    """

    refused = "violation 127.0.0.2 9"

    assert lines(tmp_path, code) == ["reached", refused, "reached", refused]


def test_another_copy_of_the_guard_stands_beside_it(tmp_path: Path) -> None:
    code = """
    for name in [one for one in sys.modules if one.startswith("egressmon")]:
        del sys.modules[name]
    from egressmon.guard import EgressGuard as Other
    Other.install("egress.toml")
    try:
        socket.create_connection(("198.51.100.7", 443))
    except PermissionError as error:
        print(error.errno)
    attempt(lambda: socket.create_connection(("localhost", 9)))
    """

    assert lines(tmp_path, code) == ["1", "reached"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version = ", "egress.toml:1"),
        ("version = 1\nalow = []\n", "alow"),
        (POLICY.replace("localhost", "https://x/"), "is a URL"),
    ],
)
def test_a_policy_that_cannot_be_used_refuses_all_and_says_so_once(
    tmp_path: Path, text: str, why: str
) -> None:
    code = """
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    """

    done = run(tmp_path, code, text)

    assert done.stdout.splitlines() == ["violation 127.0.0.2 9"] * 2
    assert done.stderr.count("every destination is refused") == 1
    assert why in done.stderr


def test_a_policy_that_is_not_there_refuses_all(tmp_path: Path) -> None:
    code = """
    EgressGuard.install("none.toml")
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    """

    done = run(tmp_path, code)

    assert done.stdout == "violation 127.0.0.2 9\n"
    assert "none.toml: No such file or directory" in done.stderr


def test_a_fault_of_its_own_refuses(tmp_path: Path) -> None:
    code = """
    from egressmon.guard import deciding
    deciding.attempt_of = lambda *_: 1 / 0
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    """

    assert lines(tmp_path, code) == ["violation None None"]


def test_another_hook_that_keeps_it_out_is_told(tmp_path: Path) -> None:
    code = """
    import subprocess
    program = '''
    import sys
    def veto(event, _):
        if event == "sys.addaudithook":
            raise RuntimeError("no")
    sys.addaudithook(veto)
    from egressmon.guard import EgressGuard
    try:
        EgressGuard.install("egress.toml")
    except RuntimeError as error:
        print(error, EgressGuard.is_installed())
    '''
    import textwrap
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    """

    found = lines(tmp_path, code)

    assert found[0].startswith("another audit hook")
    assert found[0].endswith("False")
