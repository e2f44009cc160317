"""A run that lasts keeps what is in use, by number, however long it lasts."""

# ruff: noqa: SLF001 -- what is kept is nobody's to see

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import dns.message
import dns.rrset
import pytest

from egressmon.events.model import FLAG_INGRESS
from egressmon.policy.language.model import Policy
from support.events import dns as dns_event
from support.events import event, flow
from support.replaying import RESOLVER, Replay

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
POLICY = Policy.model_validate({"version": 1, "allow": [{"host": "*.ours.example"}]})


class Machine:
    """A machine whose processes look up names and connect, minute by minute."""

    def __init__(self, folder: Path) -> None:
        self.replay = Replay(folder / "evidence", remembers=True, policy=POLICY)
        self.replay.canaries.netns = 1
        self.now = SECOND
        self.there: set[int] = set()
        self._count = 0

    def begin(self, pid: int, parent: int = 1) -> None:
        """Begin a process, as many ns after the machine as its pid says."""
        self.there.add(pid)
        known = {"tgid": pid, "parent": parent, "start_ns": pid, "ktime_ns": self.now}
        self._feed(event("process_event", "KIND_FORK", comm=b"sh", **known))

    def end(self, pid: int) -> None:
        """End a process."""
        self.there.discard(pid)
        known = {"tgid": pid, "start_ns": pid, "ktime_ns": self.now}
        self._feed(event("process_event", "KIND_EXIT", comm=b"sh", **known))

    def look_up(self, pid: int, name: str, address: str, ttl: int = 60) -> None:
        """Have a process look up a name that has an alias."""
        self._count += 1
        question = dns.message.make_query(name, "A")
        answer = dns.message.make_response(question)
        name, alias = f"{name}.", f"alias.{name}."
        answer.answer.append(dns.rrset.from_text(name, ttl, "IN", "CNAME", alias))
        answer.answer.append(dns.rrset.from_text(alias, ttl, "IN", "A", address))
        who = {"tgid": pid, "tid": pid, "start_ns": pid, "cookie": self._count}
        asked = dns_event(RESOLVER, question.to_wire(), ktime_ns=self.now, **who)
        told = dns_event(
            RESOLVER, answer.to_wire(), ktime_ns=self.now, flags=FLAG_INGRESS, **who
        )
        self._feed(asked, told)

    def connect(self, pid: int, address: str) -> str:
        """Have a process connect; return the verdict."""
        before = self.replay.tally.seen_connections.copy()
        one: dict[str, object] = {
            "tgid": pid,
            "tid": pid,
            "start_ns": pid,
            "ktime_ns": self.now,
        }
        self._feed(flow(address, 443, "KIND_CONNECT", **one))
        (verdict,) = self.replay.tally.seen_connections - before
        return verdict

    def tidy(self, minutes: int = 1) -> None:
        """Let time pass."""
        for _ in range(minutes):
            self.now += MINUTE
            cast("Any", self.replay.clock).now_ns = lambda: self.now
            self.replay.pipeline.tidy(self.there.__contains__)

    def _feed(self, *events: bytes) -> None:
        self.replay.pipeline.feed(events)


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.replay.evidence.close()


def sizes(machine: Machine) -> dict[str, int]:
    names = cast("Any", machine.replay.names)
    processes = cast("Any", machine.replay.processes)
    pipeline = cast("Any", machine.replay.pipeline)
    return {
        "addresses": len(names._known),
        "versions": len(names._versions),
        "askers": len(names._asked._places),
        "aliases": len(names.aliases._targets) + len(names.aliases._origins),
        "times of aliases": len(names.aliases._until),
        "processes": len(processes._known),
        "lines": len(pipeline.repeated._known),
        "seen once": len(pipeline.repeated._once),
        "callers": len(pipeline._lookups._askers),
        "groups": len(pipeline.queries._repeats._groups),
        "written values": len(cast("Any", machine.replay.evidence)._remembered._sizes),
    }


def test_what_is_kept_grows_no_more_after_a_quarter_of_an_hour(
    machine: Machine,
) -> None:
    found: list[dict[str, int]] = []
    number = 100
    machine.begin(50)
    for minute in range(40):
        for _ in range(10):
            number += 1
            address = f"198.18.{number >> 8}.{number & 255}"
            machine.begin(number, 50)
            zone = "ours" if number % 4 else "other"
            machine.look_up(number, f"n{number}.{zone}.example", address)
            for pid in (number, 50, 50):
                machine.connect(pid, address)
            machine.end(number)
        machine.tidy()
        if minute in {15, 39}:
            found.append(sizes(machine))

    early, late = found
    kept = {"processes", "written values"}  # these have bounds by number alone, too
    assert {k: v for k, v in late.items() if k not in kept} == {
        k: v for k, v in early.items() if k not in kept
    }
    assert late["processes"] <= 1024 + 1
    assert late["written values"] <= 2048
    assert late["addresses"] <= 10 * 14  # a minute, ten of grace, two of waiting
    assert late["askers"] <= 10 * 3


def test_who_lives_is_known_by_what_it_asked_for_as_long_as_the_name_lasts(
    machine: Machine,
) -> None:
    machine.begin(50)
    machine.look_up(50, "api.other.example", "198.18.0.1", ttl=86_400)
    machine.begin(60, 50)
    machine.begin(70)
    machine.look_up(70, "api.ours.example", "198.18.0.1", ttl=86_400)
    machine.end(70)

    machine.tidy(60)

    assert machine.connect(50, "198.18.0.1") == "violation"
    assert machine.connect(60, "198.18.0.1") == "violation"  # it descends from that
    assert machine.connect(80, "198.18.0.1") == "allowed"
    assert sizes(machine)["askers"] == 1


def test_the_name_of_an_ancestor_that_ended_counts_for_who_lives(
    machine: Machine,
) -> None:
    machine.begin(50)
    machine.look_up(50, "api.other.example", "198.18.0.1", ttl=86_400)
    machine.begin(60, 50)
    machine.end(50)
    machine.begin(70)
    machine.look_up(70, "api.ours.example", "198.18.0.1", ttl=86_400)
    for pid in range(1000, 3000):
        machine.begin(pid)
        machine.end(pid)

    machine.tidy(60)

    assert machine.replay.processes.get(50) is not None
    assert machine.replay.processes.get(1000) is None
    assert machine.connect(60, "198.18.0.1") == "violation"


def test_a_process_that_nobody_told_of_keeps_what_it_asked_for(
    machine: Machine,
) -> None:
    machine.there.add(90)  # its fork was lost
    for pid, zone in ((90, "other"), (91, "ours")):
        machine.look_up(pid, f"api.{zone}.example", "198.18.0.1", ttl=86_400)

    machine.tidy(5)

    assert machine.connect(90, "198.18.0.1") == "violation"
    assert sizes(machine)["askers"] == 1  # nobody has the number 91


@pytest.mark.parametrize(("minutes", "verdict"), [(11, "allowed"), (14, "violation")])
def test_a_name_lasts_ten_minutes_longer_than_it_was_said_to(
    machine: Machine, minutes: int, verdict: str
) -> None:
    machine.begin(50)
    machine.look_up(50, "api.ours.example", "198.18.0.1", ttl=60)

    machine.tidy(minutes)

    assert machine.connect(50, "198.18.0.1") == verdict
    assert bool(sizes(machine)["addresses"]) == (verdict == "allowed")
    assert bool(sizes(machine)["aliases"]) == (verdict == "allowed")


def test_the_last_processes_are_kept_however_long_ago_they_ended(
    machine: Machine,
) -> None:
    for pid in range(100, 2100):
        machine.begin(pid)
        machine.end(pid)
    machine.tidy(9)
    assert sizes(machine)["processes"] == 2000
    machine.tidy(2)

    assert sizes(machine)["processes"] == 1024
    assert machine.replay.processes.get(2099) is not None


def test_look_ups_held_back_are_told_once_none_came_for_ten_minutes(
    machine: Machine,
) -> None:
    machine.begin(50)
    for _ in range(13):
        machine.look_up(50, "api.other.example", "198.18.0.1")
    held = machine.replay.tally.seen_queries["violation"]
    machine.tidy(11)

    assert held < 13
    assert machine.replay.tally.seen_queries["violation"] == 13
    assert sizes(machine)["groups"] == 0
