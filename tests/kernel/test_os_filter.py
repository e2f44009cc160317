"""The policy as a filter: by the real nft, in a namespace, with real clients."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.filtered import NFT, STUB, Client, applied, policy
from support.lab import HTTP_PORT, OTHER4, OTHER_PORT, SERVER4, SERVER6, UDP_PORT, Lab
from support.users import ALONE
from support.watching import EGRESSMON

TCP_REFUSED, REFUSED = "ECONNREFUSED", "EPERM"
ENTRY = '[[allow]]\nhost = "{}"\nports = [80]\n'


@pytest.fixture
def client(network: Lab, tmp_path: Path) -> Client:
    tmp_path.chmod(0o755)
    return Client(network, tmp_path)


@contextmanager
def cgroup(*parts: str) -> Generator[Path]:
    made: list[Path] = []
    folder = find_root()
    try:
        for part in (f"egressmon-test-filter-{os.getpid()}", *parts):
            folder /= part
            folder.mkdir()
            made.append(folder)
        yield folder
    finally:
        for one in reversed(made):
            one.rmdir()


def test_clients_reach_what_is_allowed_and_are_refused_the_rest_at_once(
    client: Client, tmp_path: Path
) -> None:
    file = policy(
        tmp_path,
        f'[[allow]]\ncidr = "{SERVER4}"\nports = [{HTTP_PORT}]\nreason = "pages"\n'
        f'[[allow]]\ncidr = "{SERVER6}"\nports = [{HTTP_PORT}]\n'
        f'[[allow]]\ncidr = "{SERVER4}"\nports = [{UDP_PORT}]\nprotocol = "udp"\n'
        f'[[allow]]\ncidr = "{SERVER6}"\nprotocol = "icmp"\n',
    )
    with applied(client, file):
        said = client.tries(
            ("http", SERVER4, HTTP_PORT), ("http", SERVER6, HTTP_PORT),
            ("echo", SERVER4, UDP_PORT), ("icmp", SERVER6, 0),
            # At once: these ask what became of a connection, and wait for nothing.
            ("tcp", SERVER4, OTHER_PORT), ("tcp", SERVER6, OTHER_PORT),
            ("tcp", OTHER4, HTTP_PORT), ("tcp", SERVER4, 22),
            ("udp", SERVER6, UDP_PORT), ("udp", SERVER4, 53),
            ("icmp", SERVER4, 0), ("sctp", SERVER4, 80), ("gre", SERVER4, 0),
        )  # fmt: skip
        listed = client.listed()

    assert said[:4] == ["out"] * 4
    assert said[4:8] == [TCP_REFUSED] * 4
    assert said[8:] == [REFUSED] * 5
    assert 'comment "allow[0] 10.213.7.2/32: pages"' in listed
    assert "packets 0 bytes 0 reject" not in listed  # each kind was counted


def test_names_lead_to_their_addresses_and_follow_them_when_they_change(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, ENTRY.format("moving.example.test"))
    tries = (("http", SERVER4, 80), ("http", SERVER6, 80), ("http", OTHER4, 80))

    with client.names(f"moving.example.test,{SERVER4},{SERVER6}"):
        with_names = applied(client, file, "--lifetime", "2m")
        done = with_names.__enter__()
    try:
        first = client.tries(*tries)
        with client.names(f"moving.example.test,{OTHER4}"):
            refreshed = client.nftables(file, "--refresh", "--lifetime", "2m")
            looked_up = client.tries(("name", "moving.example.test", 80))
        second = client.tries(*tries)
        listed = client.listed()
    finally:
        with_names.__exit__(None, None, None)

    assert done.returncode == 0, done.stderr
    assert first == ["out", "out", TCP_REFUSED]
    assert (refreshed.returncode, looked_up) == (0, ["out"]), refreshed.stderr
    # The old ones stay until they are out of time.
    assert second == ["out", "out", "out"]
    assert f"{OTHER4} timeout 2m expires" in listed
    assert f"{SERVER4} timeout 1m" in listed


def test_a_refresh_that_finds_nothing_keeps_what_was_known_and_says_so(
    client: Client, tmp_path: Path
) -> None:
    file = policy(
        tmp_path,
        ENTRY.format("one.example.test") + ENTRY.format("two.example.test"),
    )
    with client.names(f"one.example.test,{SERVER4}", f"two.example.test,{OTHER4}"):
        filtered = applied(client, file)
        filtered.__enter__()
    try:
        with client.names(f"one.example.test,{SERVER4}"):
            refreshed = client.nftables(file, "--refresh")
        kept = client.tries(("http", SERVER4, 80), ("http", OTHER4, 80))
        offline = client.nftables(file, "--refresh")  # nobody answers
        still = client.tries(("http", SERVER4, 80), ("http", OTHER4, 80))
    finally:
        filtered.__exit__(None, None, None)

    assert refreshed.returncode == 1
    assert "two.example.test: " in refreshed.stderr
    assert "what was known stays until its time is out" in refreshed.stderr
    assert offline.returncode == 1
    assert kept == still == ["out", "out"]


def test_an_address_that_is_not_found_again_is_out_after_its_time(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, ENTRY.format("one.example.test"))
    given = ("--address", f"one.example.test={SERVER4}")
    with applied(client, file, *given):
        # As if most of its time had passed: the set is the same, the time shorter.
        client.run(
            *(NFT, "flush set inet egressmon allow0_4; add element"),
            *("inet", "egressmon", "allow0_4", "{", SERVER4, "timeout", "1s", "}"),
        )
        until = time.monotonic() + 30
        while client.tries(("http", SERVER4, 80)) == ["out"]:
            assert time.monotonic() < until

        assert client.tries(("http", SERVER4, 80)) == [TCP_REFUSED]


def test_a_name_that_is_not_found_is_refused_until_it_is(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, ENTRY.format("one.example.test"))
    with client.names(), applied(client, file) as done:
        said = client.tries(("http", SERVER4, 80))

    assert done.returncode == 1
    assert "it has no address in the filter yet" in done.stderr
    assert said == [TCP_REFUSED]


def test_trusted_resolvers_are_asked_and_no_others(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, f'[dns]\nresolvers = ["{SERVER4}"]\n')
    with applied(client, file) as done:
        said = client.tries(
            ("udp", SERVER4, 53), ("tcp", SERVER4, 53), ("udp", SERVER4, 54),
            ("udp", OTHER4, 53), ("udp", SERVER6, 53),
        )  # fmt: skip

    assert said == ["out", "out", REFUSED, REFUSED, REFUSED]
    assert "wider: dns.queries" in done.stderr


OWN = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), timeout=5)
server.accept()[0].sendall(b"x")
print(client.recv(1))
"""


@pytest.mark.parametrize(
    ("mode", "narrow", "expected"),
    [
        ("any", (), ["out", "out", "out"]),
        ("scope", (), ["out", "out", REFUSED]),
        ("scope", ("--uid", "0"), ["out", "out", REFUSED]),
        ("scope", ("--uid", "0", "--narrow"), [TCP_REFUSED, REFUSED, REFUSED]),
        ("deny", (), [TCP_REFUSED, REFUSED, REFUSED]),
    ],
)
def test_loopback_is_as_the_policy_has_it(
    client: Client,
    tmp_path: Path,
    mode: str,
    narrow: tuple[str, ...],
    expected: list[str],
) -> None:
    file = policy(tmp_path, f'[local]\nlisteners = "{mode}"\n')
    with applied(client, file, *narrow):
        own = client.run(sys.executable, "-I", "-c", OWN)
        said = client.tries(("udp", "127.0.0.1", 9), ("icmp", "::1", 0))

    assert said == expected[1:]
    assert ("b'x'" in own.stdout) == (expected[0] == "out")
    assert ("ConnectionRefused" in own.stderr) == (expected[0] != "out")


def test_a_cgroups_filter_is_for_those_in_it_alone(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, "")
    tries = (("http", SERVER4, 80), ("http", SERVER6, 80), ("udp", SERVER4, UDP_PORT))
    with cgroup(r"job\x2d1.scope") as folder:
        inside = folder / "inside"
        inside.mkdir()
        with applied(client, file, "--cgroup", str(folder)):
            within = client.tries(*tries, cgroup=folder)
            deeper = client.tries(*tries, cgroup=inside)
            beside = client.tries(*tries, cgroup=folder.parent)
        inside.rmdir()

    assert within == deeper == [TCP_REFUSED, TCP_REFUSED, REFUSED]
    assert beside == ["out"] * 3


def test_a_cgroup_that_was_made_anew_is_found_again_by_a_refresh(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, "")
    with cgroup("job") as folder, applied(client, file, "--cgroup", str(folder)):
        folder.rmdir()
        gone = client.nftables(file, "--cgroup", str(folder), "--refresh")
        folder.mkdir()
        refreshed = client.nftables(file, "--cgroup", str(folder), "--refresh")
        said = client.tries(("http", SERVER4, 80), cgroup=folder)

    assert (gone.returncode, refreshed.returncode) == (2, 0)
    assert "there is no folder" in gone.stderr
    assert said == [TCP_REFUSED]


def test_a_users_filter_is_for_that_user_alone(client: Client, tmp_path: Path) -> None:
    file = policy(tmp_path, "")
    tries = (("http", SERVER4, 80), ("udp", SERVER6, UDP_PORT))
    by = ["setpriv", f"--reuid={ALONE}", f"--regid={ALONE}", "--clear-groups"]
    with applied(client, file, "--uid", str(ALONE)):
        users = client.tries(*tries, by=by)
        roots = client.tries(*tries)

    assert users == [TCP_REFUSED, REFUSED]
    assert roots == ["out", "out"]


def test_what_is_denied_is_refused_though_an_entry_allows_it(
    client: Client, tmp_path: Path
) -> None:
    file = policy(
        tmp_path,
        '[[allow]]\ncidr = "10.213.7.0/24"\nports = "any"\nprotocol = "any"\n'
        f'[[deny]]\ncidr = "{OTHER4}"\n'
        '[[deny]]\nhost = "six.example.test"\nports = [80]\n',
    )
    given = ("--address", f"six.example.test={SERVER4}")
    with applied(client, file, *given):
        said = client.tries(
            ("http", SERVER4, OTHER_PORT), ("http", SERVER4, 80), ("icmp", OTHER4, 0)
        )

    assert said == ["out", TCP_REFUSED, REFUSED]


def test_where_nat_sends_it_is_denied_as_well(client: Client, tmp_path: Path) -> None:
    nat = (
        "table ip there {\nchain output {\ntype nat hook output priority -100\n"
        f"ip daddr {SERVER4} tcp dport 81 dnat to {OTHER4}:80\n"
        f"ip daddr {SERVER4} tcp dport 82 dnat to {SERVER4}:80\n}}\n}}\n"
    )
    file = policy(
        tmp_path,
        f'[[allow]]\ncidr = "{SERVER4}"\nports = [81, 82]\n'
        f'[[deny]]\ncidr = "{OTHER4}"\n',
    )
    assert client.run(NFT, "-f", "-", text=nat).stderr == ""
    try:
        with applied(client, file):
            said = client.tries(("http", SERVER4, 81), ("http", SERVER4, 82))
    finally:
        client.run(NFT, "delete", "table", "ip", "there")

    assert said == [TCP_REFUSED, "out"]


SERVE = """
import socket, sys
server = socket.create_server(("0.0.0.0", 0))
print(server.getsockname()[1], flush=True)
peer, _ = server.accept()
peer.sendall(b"secret")
peer.shutdown(socket.SHUT_WR)
peer.recv(1)
"""
TAKE = """
import socket, sys
try:
    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)
    print(peer.recv(9))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ('"local"', "TimeoutError"),
        ('["10.213.7.2/32"]', "b'secret'"),
        ('["10.213.9.0/24"]', "TimeoutError"),
        ('"any"', "b'secret'"),
    ],
)
def test_replies_go_to_those_who_may_connect(
    client: Client, tmp_path: Path, sources: str, expected: str
) -> None:
    file = policy(tmp_path, f"[accept]\nfrom = {sources}\n")
    with applied(client, file):
        server = subprocess.Popen(
            [*client.words(), sys.executable, "-I", "-c", SERVE],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            port = server.stdout.readline().strip()
            space = f"--net=/run/netns/{client.network.server}"
            taken = subprocess.run(
                [
                    "nsenter",
                    space,
                    sys.executable,
                    "-I",
                    "-c",
                    TAKE,
                    "10.213.7.1",
                    port,
                ],
                check=False,
                capture_output=True,
                text=True,
            )
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    assert taken.stdout.strip() == expected


KEPT = """
import socket, sys
client = socket.create_connection((sys.argv[1], 80), timeout=5)
print("connected", flush=True)
sys.stdin.readline()
client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(client.recv(8))
"""


@pytest.mark.parametrize(
    ("rule", "expected"), [("", "b'HTTP/1.0'"), ("deny", "ConnectionRefused")]
)
def test_what_began_while_it_was_allowed_goes_on_unless_it_is_denied(
    client: Client, tmp_path: Path, rule: str, expected: str
) -> None:
    file = policy(tmp_path, f'[[allow]]\ncidr = "{SERVER4}"\nports = [80]\n')
    denied = f'[[deny]]\ncidr = "{SERVER4}"\n' if rule else ""
    with applied(client, file):
        open_one = subprocess.Popen(
            [*client.words(), sys.executable, "-I", "-c", KEPT, SERVER4],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert open_one.stdout is not None
        assert open_one.stdout.readline() == "connected\n"
        file = policy(tmp_path, denied)
        replaced = client.nftables(file, "--apply")
        fresh = client.tries(("http", SERVER4, 80))
        out, errors = open_one.communicate("\n", timeout=30)

    assert "the filter was replaced" in replaced.stderr
    assert fresh == [TCP_REFUSED]
    assert expected in out + errors or "ConnectionReset" in errors


def test_removing_it_leaves_nothing(client: Client, tmp_path: Path) -> None:
    file = policy(tmp_path, "")
    before = client.listed()
    with applied(client, file):
        removed = client.nftables("--remove")
        after = client.listed()
        again = client.nftables("--remove")
        said = client.tries(("http", SERVER4, 80))

    assert (removed.returncode, again.returncode) == (0, 1)
    assert before == after == ""
    assert said == ["out"]


@pytest.mark.parametrize("comment", ["", 'comment "egressmon"', 'comment "mine"'])
@pytest.mark.parametrize("words", [("--apply",), ("--refresh",), ("--remove",)])
def test_a_table_of_somebody_elses_is_left_alone(
    client: Client, tmp_path: Path, comment: str, words: tuple[str, ...]
) -> None:
    file = policy(tmp_path, "")
    # Our mark deeper inside makes it none of ours.
    inner = 'comment "egressmon 1 sha256:0"'
    theirs = f"table inet egressmon {{\n{comment}\nchain one {{\n{inner}\n}}\n}}\n"
    client.run(NFT, "-f", "-", text=theirs)
    try:
        before = client.listed()
        done = client.nftables(file, *words)
        after = client.listed()
    finally:
        client.run(NFT, "delete", "table", "inet", "egressmon")

    assert before
    assert before == after
    assert done.returncode == 2
    assert "that egressmon did not make" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4


def test_a_refresh_for_another_policy_or_none_changes_nothing(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, "")
    none = client.nftables(file, "--refresh")
    with applied(client, file):
        before = client.listed()
        options = client.nftables(file, "--refresh", "--uid", "0")
        file = policy(tmp_path, "# changed\n")
        other = client.nftables(file, "--refresh")
        after = client.listed()

    assert (none.returncode, options.returncode, other.returncode) == (2, 2, 2)
    assert "there is no filter to refresh" in none.stderr
    assert "of another policy" in other.stderr
    assert before == after


def test_without_rights_nothing_is_changed_and_one_line_says_so(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, "")
    by = ["setpriv", f"--reuid={ALONE}", f"--regid={ALONE}", "--clear-groups"]
    for folder in tmp_path.parents:
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    done = client.run(*by, *EGRESSMON, "policy", "nftables", file, "--apply")

    assert done.returncode == 2
    assert "without rights" in done.stderr
    assert client.listed() == ""


def test_counters_go_on_over_a_refresh(client: Client, tmp_path: Path) -> None:
    file = policy(tmp_path, ENTRY.format("one.example.test"))
    given = ("--address", f"one.example.test={SERVER4}")
    with applied(client, file, *given):
        client.tries(("http", SERVER4, 80), ("udp", SERVER4, 1))
        before = client.listed().count("packets 0 bytes 0")
        done = client.nftables(file, "--refresh", *given)
        after = client.listed().count("packets 0 bytes 0")

    assert done.returncode == 0, done.stderr
    assert before == after


def test_ipv6_finds_its_neighbours_under_a_filter_for_the_whole_machine(
    client: Client, tmp_path: Path
) -> None:
    file = policy(tmp_path, f'[[allow]]\ncidr = "{SERVER6}"\nports = [80]\n')
    with applied(client, file):
        client.run("ip", "-6", "neigh", "flush", "dev", "wire")
        said = client.tries(("http", SERVER6, 80))

    assert said == ["out"]


def test_the_stub_is_loopback_and_may_be_asked_even_where_loopback_is_closed(
    client: Client, tmp_path: Path
) -> None:
    listeners = '[local]\nlisteners = "deny"\n'
    file = policy(tmp_path, f'{listeners}[dns]\nresolvers = ["{STUB}"]\n')
    with client.names(f"one.example.test,{SERVER4}"), applied(client, file):
        said = client.tries(("name", "one.example.test", 80), ("udp", STUB, 54))

    assert said == ["out", REFUSED]
