"""Connections go by the name that their own process asked for, and learn writes it."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import OTHER4, OTHER_PORT, SERVER4
from support.watching import Watched

Watch = Callable[..., Watched]

CURL = "curl -sS -4 -o /dev/null http://"
FOUR = ("api", "four", "evil", "late")
CONNECT = (
    "import socket, sys\n"
    f"for name in sys.argv[1:]: socket.create_connection((name, {OTHER_PORT}), 9)"
)


def connect(*names: str) -> tuple[str, ...]:
    """Return a command that connects to each of names, one after the other."""
    return (sys.executable, "-c", CONNECT, *names)


def named(run: Watched) -> list[tuple[str, str]]:
    """Return the first name of each connection, and who asked for it."""
    return [
        (one["dst"]["names"][0]["name"], one["dst"]["names"][0]["asked_by"])
        for one in run.of("connection", protocol="tcp")
    ]


def searching(tmp_path: Path, domain: str) -> tuple[str, ...]:
    """Return the words that give what follows a search list."""
    path = tmp_path / f"{domain}.conf"
    path.write_text(f"nameserver {SERVER4}\nsearch {domain}\n")
    script = f'mount --bind {path} /etc/resolv.conf && exec "$@"'
    return ("sh", "-c", script, "sh")


def test_two_names_of_one_address_each_with_its_process(watched: Watch) -> None:
    script = "; ".join(f"{CURL}{name}.example.test/" for name in FOUR)

    run = watched("sh", "-c", script)

    # curl asks in a thread of its own.
    assert named(run) == [(f"{name}.example.test", "process") for name in FOUR]
    for name in FOUR:
        assert f"{name}.example.test:80/tcp" in run.stderr


# Python asks in the thread that connects. A child goes by what its parent asked for.
def test_one_process_asks_again_and_again_and_a_child_inherits(watched: Watch) -> None:
    program = (
        "import os, socket\n"
        "for name in ('api', 'four', 'api'):\n"
        f"    socket.create_connection((name + '.example.test', {OTHER_PORT}), 9)\n"
        "if not os.fork():\n"
        f"    socket.create_connection(({SERVER4!r}, {OTHER_PORT}), 9)\n"
        "else: os.wait()\n"
    )
    run = watched(sys.executable, "-c", program)

    api, four = "api.example.test", "four.example.test"
    assert list(named(run)) == [
        (api, "thread"),
        (four, "thread"),
        (api, "thread"),
        (api, "ancestor"),
    ]


def test_a_name_that_others_asked_for_lends_nothing(watched: Watch) -> None:
    script = f"{CURL}api.example.test/; {CURL}evil.example.test/"
    policy = 'version = 1\n[[allow]]\nhost = "api.example.test"\nports = [80]\n'

    run = watched("sh", "-c", script, policy=policy)

    first, second = run.of("connection", protocol="tcp")
    assert (first["verdict"], second["verdict"]) == ("allowed", "violation")
    assert second["reason"] == "no allow entry covers evil.example.test:80/tcp"


def test_learn_from_make_allows_exactly_the_four(
    watched: Watch, tmp_path: Path
) -> None:
    lines = [f"all: {' '.join(FOUR)}"]
    lines += [f"{one}:\n\t{CURL}{one}.example.test/" for one in FOUR]
    (tmp_path / "Makefile").write_text("\n".join(lines) + "\n")
    make = ("make", "-s", "-j4", "-f", str(tmp_path / "Makefile"))

    learned = watched(*make, verb="learn")
    assert learned.status == 0, learned.stderr
    text = (tmp_path / "egress.toml").read_text()
    again = [watched(*make) for _ in range(3)]

    policy = tomllib.loads(text)
    assert [one["host"] for one in policy["allow"]] == sorted(
        f"{one}.example.test" for one in FOUR
    )
    assert {tuple(one["ports"]) for one in policy["allow"]} == {(80,)}
    assert "dns" not in policy
    assert {run.end["verdict"] for run in again} == {"clean"}, text


# `db` is db.corp.example.test on one machine and db.other.example.test on the next.
def test_a_short_name_is_learned_and_holds_with_another_search_list(
    watched: Watch, tmp_path: Path
) -> None:
    here = searching(tmp_path, "corp.example.test")
    there = searching(tmp_path, "other.example.test")

    learned = watched(*connect("db"), through=here, verb="learn")
    assert learned.status == 0, learned.stderr
    policy = tomllib.loads((tmp_path / "egress.toml").read_text())
    runs = [watched(*connect("db"), through=place) for place in (here, there)]

    assert [one["host"] for one in policy["allow"]] == ["db"]
    assert "dns" not in policy
    assert [run.end["verdict"] for run in runs] == ["clean", "clean"]
    reached = {run.of("connection", protocol="tcp")[0]["dst"]["ip"] for run in runs}
    assert len(reached) == 2


# Who owns a search domain, or may add names below it, must not get what goes to a whole
# name. Only where there is no such name, the resolver library completes it.
@pytest.mark.parametrize(
    ("host", "asked", "verdict"),
    [
        ("api.example.test", "api.example.test.other.example.test", "violations"),
        ("*.example.test", "api.example.test.other.example.test", "violations"),
        ("gone.example.test", "gone.example.test", "clean"),
        ("gone.example.test", "gone.example.test.other.example.test", "violations"),
        ("*.example.test", "gone.example.test", "violations"),
    ],
)
def test_a_whole_name_is_completed_only_if_it_does_not_exist(
    watched: Watch, tmp_path: Path, host: str, asked: str, verdict: str
) -> None:
    there = searching(tmp_path, "other.example.test")
    policy = f'version = 1\n[[allow]]\nhost = "{host}"\nports = "any"\n'

    run = watched(*connect(asked), through=there, policy=policy)

    assert {one["dst"]["ip"] for one in run.of("connection", protocol="tcp")} == {
        OTHER4
    }
    assert run.end["verdict"] == verdict, run.stderr


# The agent resolves the policy's names, for clients that did so before the run.
def test_the_policys_whole_names_are_not_completed(
    watched: Watch, tmp_path: Path
) -> None:
    there = searching(tmp_path, "other.example.test")
    runs = [
        watched(
            *connect(OTHER4),
            through=there,
            policy=f'version = 1\n[[allow]]\nhost = "{host}"\nports = "any"\n',
        )
        for host in ("db", "gone.example.test")
    ]

    assert [run.end["verdict"] for run in runs] == ["clean", "violations"]


def test_a_whole_name_that_was_completed_is_learned_as_it_was_asked_for(
    watched: Watch, tmp_path: Path
) -> None:
    there = searching(tmp_path, "other.example.test")
    command = connect("gone.example.test")

    watched(*command, through=there, verb="learn")
    text = (tmp_path / "egress.toml").read_text()
    again = watched(*command, through=there)

    assert [one["host"] for one in tomllib.loads(text)["allow"]] == [
        "gone.example.test"
    ]
    assert again.end["verdict"] == "clean", text + again.stderr


@pytest.mark.parametrize("allowed", ["www.example.test", "api.example.test"])
def test_what_an_allowed_name_leads_to_may_be_looked_up_and_reached(
    watched: Watch, allowed: str
) -> None:
    policy = f'version = 1\n[[allow]]\nhost = "{allowed}"\nports = "any"\n'
    command = connect("www.example.test", "cdn.example.test")

    run = watched(*command, policy=policy)

    if allowed == "www.example.test":
        assert run.end["verdict"] == "clean", run.stderr
    else:  # it is no alias's origin, but its target
        assert run.end["verdict"] == "violations"


def test_the_name_of_a_known_address_may_be_looked_up_and_no_other(
    watched: Watch,
) -> None:
    policy = 'version = 1\n[[allow]]\nhost = "api.example.test"\nports = "any"\n'
    program = (
        "import contextlib, socket, sys\n"
        "socket.create_connection(('api.example.test', 80), 9)\n"
        "for address in sys.argv[1:]:\n"
        "    with contextlib.suppress(OSError): socket.gethostbyaddr(address)\n"
    )
    run = watched(sys.executable, "-c", program, SERVER4, "192.0.2.99", policy=policy)

    verdicts = {one["name"]: one["verdict"] for one in run.of("dns", kind="PTR")}
    assert verdicts == {
        "2.7.213.10.in-addr.arpa": "allowed",
        "99.2.0.192.in-addr.arpa": "violation",
    }


def test_a_denied_name_wins_and_an_alias_hides_none(watched: Watch) -> None:
    policy = (
        'version = 1\nenforce = "fail"\n[[allow]]\nhost = "**.example.test"\n'
        'ports = "any"\n[[deny]]\nhost = "cdn.example.test"\nreason = "tracker"\n'
    )
    allowed = watched(*connect("api.example.test"), policy=policy)
    hidden = watched(*connect("www.example.test"), policy=policy)

    assert allowed.status == 0
    assert hidden.status == 120
    (one,) = hidden.of("connection", protocol="tcp")
    assert one["rule"] == "deny[0]"
