"""One kind of event never starves another, and junk costs less than it was."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import OTHER4, SERVER4
from support.watching import AGENT, Watched

Watch = Callable[..., Watched]
Build = Callable[[str], str]
pytestmark = pytest.mark.alone
# Whatever the policy allows to one program only, nobody else may get.
POLICY = """
version = 1
[[allow]]
cidr = "10.213.7.0/24"
ports = [9]
by = {{ exe = ["{exe}"] }}
[dns]
queries = "any"
"""


def made(run: Watched) -> list[dict[str, object]]:
    """Return the connections to the port at which nobody listens."""
    return [one for one in run.of("connection") if one["dst"]["port"] == 9]


# Each of the 200 connections is made by a process of its own, in the midst of it.
def test_junk_to_port_53_hides_no_connection_and_renames_no_process(
    watched: Watch, build: Build, tmp_path: Path
) -> None:
    junk, connect = build("junk"), build("connect")

    run = watched(
        *(junk, SERVER4, "64", "40", connect, OTHER4, "9"),
        policy=POLICY.format(exe="*/junk"),
    )

    connections = made(run)
    assert len(connections) == 200
    assert {one["process"]["exe"] for one in connections} == {connect}  # type: ignore[index]
    assert {one["verdict"] for one in connections} == {"violation"}
    assert run.end["losses"]["lost_flow"] == 0
    assert run.end["losses"]["lost_process"] == 0
    assert (tmp_path / "evidence.jsonl").stat().st_size < int(run.stdout)


@pytest.mark.parametrize("size", [64, 1400])
def test_what_a_socket_sends_beyond_its_share_is_told(
    watched: Watch, build: Build, tmp_path: Path, size: int
) -> None:
    run = watched(build("junk"), SERVER4, str(size), "20")

    unread = [one for one in run.of("dns") if "were not read" in one["reason"]]
    assert unread
    assert all(one["verdict"] == "violation" for one in unread)
    told = max(int(one["reason"].split()[0]) for one in unread)
    assert told > int(run.stdout) // 4
    assert run.end["losses"]["lost_unread"] > 0
    assert run.end["complete"] is False
    junk = run.of("dns", name=None, verdict="violation")
    assert len(junk) < 60
    assert sum(one["count"] for one in junk) > len(junk)
    assert (tmp_path / "evidence.jsonl").stat().st_size < int(run.stdout) // 20


# While the agent is stopped, nobody empties the rings: what comes first fills its own.
def stopped(first: str, then: str) -> tuple[str, ...]:
    """Return a shell that runs both while the agent reads nothing."""
    work = f"{first} >&2; {then}"
    return "sh", "-c", f"{AGENT}; kill -STOP $agent; {work}; kill -CONT $agent"


def test_junk_leaves_room_for_connections_and_processes(
    watched: Watch, build: Build
) -> None:
    junk = f"{build('junk')} {SERVER4} 64 8"

    run = watched(*stopped(junk, f"{build('connect')} {OTHER4} 9 burst 2000"))

    assert len(made(run)) == 2000
    assert {one["process"]["comm"] for one in made(run)} == {"connect"}  # type: ignore[index]
    assert run.end["losses"]["lost_process"] == 0
    assert run.end["verdict"] == "violations"
    assert run.end["complete"] is False


def test_connections_leave_room_for_processes(watched: Watch, build: Build) -> None:
    many = f"{build('connect')} {OTHER4} 9 burst 60000"

    run = watched(*stopped(many, "/bin/true"))

    assert run.end["losses"]["lost_flow"] > 0
    assert run.end["losses"]["lost_process"] == 0
    assert [one for one in run.of("process", event="exec") if one["comm"] == "true"]


# The exec of what connects is lost: what it runs is unknown, and not its parent's.
def test_processes_leave_room_for_connections_and_what_is_lost_is_unknown(
    watched: Watch, build: Build
) -> None:
    run = watched(
        *stopped(
            f"{build('forks')} 60000", f"{build('connect')} {OTHER4} 9 burst 2000"
        ),
        policy=POLICY.format(exe="*"),
    )

    connections = made(run)
    assert len(connections) == 2000
    assert run.end["losses"]["lost_process"] > 0
    for one in connections:
        assert one["process"]["exe"] is None  # type: ignore[index]
        assert "lost" in str(one["process_reason"])
        assert one["verdict"] == "violation"
    assert run.end["complete"] is False


# Long arguments are left out before a process is.
def test_arguments_leave_room_for_processes(watched: Watch) -> None:
    word = "x" * 4000
    many = f"for i in $(seq 2500); do /bin/true {word}; done"

    run = watched(*stopped(many, "/bin/true last"))

    executed = [one for one in run.of("process", event="exec") if one["comm"] == "true"]
    assert len(executed) == 2501
    assert run.end["losses"]["lost_process"] == 0
    assert executed[0]["argv"][1].startswith("xxx")
    assert executed[2400]["argv_cut"] is True
    assert {one["exe"] for one in executed} <= {
        "/bin/true",
        os.path.realpath("/bin/true"),
    }


# The command makes in a moment what takes the agent a second or more to read.
def test_what_is_left_some_time_after_the_last_process_is_counted(
    watched: Watch, build: Build
) -> None:
    many = f"{build('connect')} {OTHER4} 9 burst 20000"

    run = watched(*stopped(many, "/bin/true"), options=["--catch-up", "50ms"])

    left, lost = (run.end["losses"][name] for name in ("unread", "lost_flow"))
    assert left > 0
    assert len(made(run)) + left + lost >= 20000
    (loss,) = run.of("loss", where="unread")
    assert loss["count"] == left
    why = f"{left} events were left unread 0.05 s after what is watched had ended"
    assert any(one.startswith(why) for one in run.end["incomplete_reasons"])
    assert f"incomplete: {why}" in run.stderr
    # Neither the command's own end nor the canaries are among what is missing.
    assert len(run.end["incomplete_reasons"]) == 1 + (lost > 0)
    assert run.end["command_status"] == 0
    canaries = run.end["canaries"]
    assert canaries["seen"] == canaries["sent"]
    assert run.status == 121


# What goes on after the command makes events faster than they are read.
def test_a_flood_that_outlives_the_command_does_not_hold_the_run_up(
    watched: Watch, build: Build
) -> None:
    flood = f"for i in $(seq 5000); do {build('connect')} {OTHER4} 9 burst 500; done"
    options = ["--linger", "0s", "--catch-up", "100ms"]

    run = watched("sh", "-c", f"({flood}) >/dev/null 2>&1 & echo $!", options=options)
    os.kill(int(run.stdout), signal.SIGKILL)

    assert int(run.stdout) in {one["pid"] for one in run.end["outlived"]}
    canaries = run.end["canaries"]
    assert canaries["seen"] == canaries["sent"]
