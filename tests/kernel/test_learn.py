"""What learn writes makes the same run clean, and is no larger than it must be."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from support.lab import HTTP_PORT, OTHER4, OTHER_PORT, SERVER4, SERVER6, UDP_PORT
from support.watching import Watched

Watch = Callable[..., Watched]

SCRIPT = f"""
set -e
curl -sS -4 http://api.example.test/ >/dev/null
curl -sS -6 http://api.example.test:{OTHER_PORT}/ >/dev/null
curl -sS http://{OTHER4}/ >/dev/null
dig +short four.example.test >/dev/null
dig +short nothing.example.test >/dev/null
{sys.executable} -c '
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("{OTHER4}", {UDP_PORT}))
socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(
    b"\\x08\\0\\xf7\\xff\\0\\0\\0\\0", ("{SERVER4}", 0))
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())
'
"""


def test_a_learned_policy_makes_the_same_run_clean(
    watched: Watch, tmp_path: Path
) -> None:
    learned = watched("sh", "-c", SCRIPT, verb="learn")
    assert learned.status == 0, learned.stderr
    assert learned.stderr.startswith("egressmon: learned from 10 connections, ")
    text = (tmp_path / "egress.toml").read_text()

    again = watched("sh", "-c", SCRIPT)

    assert again.end["verdict"] == "clean", text + again.stderr
    assert again.status == 0
    assert again.of("run.start")[0]["policy"] == str(tmp_path / "egress.toml")
    policy = tomllib.loads(text)
    entries = {
        (one.get("host") or one["cidr"], one.get("protocol", "tcp")): one.get("ports")
        for one in policy["allow"]
    }
    named = ("api.example.test", "tcp")
    assert entries.pop(named) == [HTTP_PORT, OTHER_PORT]
    # The ICMP peer has two names by then, but its own process asked for neither.
    assert entries == {
        (OTHER4, "tcp"): [HTTP_PORT],
        (OTHER4, "udp"): [UDP_PORT],
        (SERVER4, "icmp"): None,
    }
    assert "# curl (2x)" in text
    assert SERVER6 not in text


def test_a_policy_that_exists_is_not_replaced(watched: Watch, tmp_path: Path) -> None:
    (tmp_path / "egress.toml").write_text("version = 1\n")

    run = watched("touch", str(tmp_path / "ran"), verb="learn")

    assert run.status == 125
    assert "--force" in run.stderr
    assert (tmp_path / "egress.toml").read_text() == "version = 1\n"
    assert not (tmp_path / "ran").exists()


def test_a_resolver_of_its_own_is_learned(watched: Watch, tmp_path: Path) -> None:
    query = ("dig", "+short", f"@{OTHER4}", "four.example.test")

    watched(*query, verb="learn")
    again = watched(*query)

    policy = tomllib.loads((tmp_path / "egress.toml").read_text())
    assert policy["dns"]["resolvers"] == [OTHER4]
    assert again.end["verdict"] == "clean"


def test_an_odd_look_up_does_not_allow_every_name(
    watched: Watch, tmp_path: Path
) -> None:
    odd = "dig +short '*odd*.example.test' >/dev/null; dig +short 'a b.test' >/dev/null"
    script = f"{odd}; dig +short fine.example.test >/dev/null"

    watched("sh", "-c", script, verb="learn")

    text = (tmp_path / "egress.toml").read_text()
    assert tomllib.loads(text)["dns"] == {"names": ["fine.example.test"]}
    assert "# left out, no host name: *odd*.example.test" in text


# Which of the two is first, an unwatched race decides.
def test_a_bare_address_is_learned_as_one_whoever_asks_for_its_name_before(
    watched: Watch, tmp_path: Path
) -> None:
    by_name = "curl -sS -4 -o /dev/null http://four.example.test/"
    bare = f"curl -sS -o /dev/null http://{SERVER4}/"
    decoy = "dig +short late.example.test >/dev/null"

    learned = watched("sh", "-ec", f"{decoy}; {by_name}; {bare}", verb="learn")
    assert learned.status == 0, learned.stderr
    text = (tmp_path / "egress.toml").read_text()
    again = watched("sh", "-ec", f"{decoy}; {bare}; {by_name}")

    assert [one.get("host") or one["cidr"] for one in tomllib.loads(text)["allow"]] == [
        SERVER4,
        "four.example.test",
    ]
    assert "# others asked for four.example.test, late.example.test: " in text
    assert again.end["verdict"] == "clean", again.stderr


# One process asks for all of them, in threads, and connects in whatever order.
def test_names_that_are_asked_for_at_once_are_all_allowed_with_a_remark(
    watched: Watch, tmp_path: Path
) -> None:
    program = (
        "import socket\n"
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "names = [one + '.example.test' for one in ('api', 'four', 'late')]\n"
        "with Pool(3) as pool: list(pool.map(socket.gethostbyname, names))\n"
        f"for _ in names: socket.create_connection(({SERVER4!r}, {HTTP_PORT}), 9)\n"
    )

    watched(sys.executable, "-c", program, verb="learn")
    text = (tmp_path / "egress.toml").read_text()
    again = watched(sys.executable, "-c", program)

    assert len(tomllib.loads(text)["allow"]) == 3
    assert text.count(": which one it meant is not known\n") == 3
    assert again.end["verdict"] == "clean", again.stderr
