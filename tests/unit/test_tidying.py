"""A run that lasts lets go of what nothing will be told of any more."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import dns.message
import pytest

from egressmon import host
from egressmon.policy.judging.judge import Judge
from egressmon.policy.language.model import Policy
from egressmon.verdicts import connections
from support.events import dns as dns_event
from support.events import event, flow
from support.replaying import RESOLVER, Replay

SECOND = 1_000_000_000


@pytest.fixture
def replay(tmp_path: Path) -> Generator[Replay]:
    made = Replay(tmp_path / "evidence", remembers=True, policy=Policy(version=1))
    yield made
    made.evidence.close()


def begun(replay: Replay, pid: int, start_ns: int = 5) -> None:
    known: dict[str, object] = {"tgid": pid, "parent": 1, "start_ns": start_ns}
    replay.pipeline.feed([event("process_event", "KIND_FORK", comm=b"sh", **known)])


def alive(replay: Replay) -> set[int]:
    return {one.pid for one in replay.processes.alive()}


def test_who_is_gone_twice_has_ended(replay: Replay) -> None:
    for pid in (100, 200):
        begun(replay, pid)

    replay.pipeline.tidy(lambda pid: pid == 100)
    assert alive(replay) == {100, 200}  # its end may be waiting to be read
    replay.pipeline.tidy(lambda pid: pid == 100)

    assert alive(replay) == {100}
    assert replay.pipeline.counts_of_forgotten()["processes"] == 1
    known = replay.processes.get(200)
    assert known is not None  # what it did may still be read
    assert not known.alive


def test_another_of_that_number_is_not_the_one_that_was_gone(replay: Replay) -> None:
    begun(replay, 100)
    replay.pipeline.tidy(lambda _: False)
    begun(replay, 100, start_ns=7)
    replay.pipeline.tidy(lambda _: False)

    assert alive(replay) == {100}


def test_ends_that_are_lost_do_not_add_up(replay: Replay) -> None:
    for pid in range(2, 20_002):
        begun(replay, pid)
        if pid % 5000 == 0:
            replay.pipeline.tidy(lambda _: False)
            replay.pipeline.tidy(lambda _: False)
    for _ in range(2):
        replay.pipeline.tidy(lambda _: False)

    assert alive(replay) == set()
    assert replay.processes.get(2) is None
    assert replay.pipeline.counts_of_forgotten()["processes"] == 20_000


def test_a_look_up_without_an_answer_is_recorded_after_two_minutes(
    replay: Replay,
) -> None:
    question = dns.message.make_query("api.example.org", "A").to_wire()
    replay.pipeline.feed([dns_event(RESOLVER, question, ktime_ns=SECOND)])
    clock = cast("Any", replay.clock)

    clock.now_ns = lambda: 120 * SECOND
    replay.pipeline.tidy(lambda _: True)
    assert replay.tally.seen_queries.total() == 0
    clock.now_ns = lambda: 121 * SECOND
    replay.pipeline.tidy(lambda _: True)

    assert replay.tally.seen_queries.total() == 1
    replay.pipeline.finish()
    assert replay.tally.seen_queries.total() == 1


def test_addresses_without_a_name_are_kept_up_to_a_bound(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MAX_UNNAMED", 3)
    for last in (1, 2, 3, 4, 5, 1):
        replay.pipeline.feed([flow(f"198.18.0.{last}", 443)])

    assert len(replay.pipeline.connections.unnamed) == 3
    assert replay.pipeline.counts_of_forgotten()["unnamed_addresses"] == 2


def test_whether_a_process_is_there() -> None:
    assert host.is_there(1)
    assert not host.is_there(2**22 + 1)


def test_what_is_remembered_belongs_to_its_policy(replay: Replay) -> None:
    same = flow("198.18.0.1", 443)
    for _ in range(3):
        replay.pipeline.feed([same])
    assert replay.pipeline.repeated is not None
    assert replay.pipeline.repeated.size == 1
    entry = {"cidr": "198.18.0.1/32", "ports": [443], "reason": "it is"}
    policy = Policy.model_validate({"version": 1, "allow": [entry]})

    replay.pipeline.settle()
    replay.pipeline.judge_by(Judge(policy, frozenset()), lambda: None)
    for _ in range(3):
        replay.pipeline.feed([same])

    assert replay.tally.connections == {"violation": 3, "allowed": 3}
