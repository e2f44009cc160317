"""A sidecar that was killed, or did not run for some time: the evidence says when."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from egressmon.evidence.output import digest_of_line
from support.sidecars import Json, Sidecar, cgroup, sidecar

# Longer than twice the heartbeat, and the 10 s that a busy machine may need.
FROZEN_S = 11


@pytest.fixture
def watched() -> Generator[Path]:
    with cgroup() as path:
        yield path


def begin(one: Sidecar, watched: Path) -> None:
    policy = ["--policy", str(one.folder / "egress.toml")]
    (one.folder / "token").unlink(missing_ok=True)
    scope = ["--cgroup", str(watched), "--heartbeat", "100ms"]
    done = one.start(*scope, *policy)
    assert done.returncode == 0, done.stderr


def kill(one: Sidecar) -> None:
    """Kill the keeper, and with it the agent, and wait until that is gone."""
    pidfd = os.pidfd_open(agent_of(one))
    os.kill(one.keeper, signal.SIGKILL)
    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)


def agent_of(one: Sidecar) -> int:
    """Return the agent: the last child of the keeper's."""
    children = Path(f"/proc/{one.keeper}/task/{one.keeper}/children")
    return int(children.read_text().split()[-1])


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


@pytest.mark.smoke
def test_after_a_kill_the_next_run_tells_of_the_gap(
    watched: Path, aside: Sidecar
) -> None:
    begin(aside, watched)
    killed, last = aside.started["run"], aside.segments()[-1]
    kill(aside)
    lines = [one for one in last.read_bytes().split(b"\n") if one.endswith(b"}")]
    begin(aside, watched)
    status, answer = aside.stop()

    (gap,) = of(aside.records(), "gap")
    assert (gap["before"], gap["doubt"]) == (killed, True)
    assert gap["before_head"] == digest_of_line(lines[-1])
    assert gap["since"] == json.loads(lines[-1])["time"]
    assert (status, answer["verdict"]) == (121, "incomplete")
    (why,) = answer["incomplete_reasons"]
    assert "was killed" in why
    kinds = [(one.kind, one.message.partition(":")[0]) for one in aside.verify().found]
    assert kinds == [("truncated", "the run has no end")]  # of the one that was killed


def test_after_an_end_in_order_there_is_no_gap(watched: Path, aside: Sidecar) -> None:
    begin(aside, watched)
    aside.stop()
    begin(aside, watched)
    status, _ = aside.stop()

    assert status == 0
    assert of(aside.records(), "gap") == []


def test_a_sidecar_that_goes_on_is_no_gap(watched: Path, aside: Sidecar) -> None:
    begin(aside, watched)
    with sidecar() as other:
        done = other.ask(
            *("--cgroup", str(watched), "--policy", str(other.folder / "egress.toml")),
            *("--evidence", str(aside.folder / "evidence"), "--detach", "--json"),
            *("--token-file", str(other.folder / "token")),
        )
        assert done.returncode == 0, done.stderr
        other.started = json.loads(done.stdout)
        status, _ = other.stop()
        found = of(other.records(), "gap")
    aside.stop()

    assert status == 0
    assert found == []


def stop_agent(one: Sidecar, _: Path) -> Callable[[], None]:
    agent = agent_of(one)
    os.kill(agent, signal.SIGSTOP)
    return lambda: os.kill(agent, signal.SIGCONT)


def stop_keeper(one: Sidecar, _: Path) -> Callable[[], None]:
    os.kill(one.keeper, signal.SIGSTOP)
    return lambda: os.kill(one.keeper, signal.SIGCONT)


def freeze(one: Sidecar, frozen: Path) -> Callable[[], None]:
    for pid in (one.keeper, agent_of(one)):
        (frozen / "cgroup.procs").write_text(str(pid))
    (frozen / "cgroup.freeze").write_text("1")
    return lambda: thaw(one, frozen)


def thaw(one: Sidecar, frozen: Path) -> None:
    (frozen / "cgroup.freeze").write_text("0")
    for pid in (one.keeper, agent_of(one)):
        (frozen.parent / "cgroup.procs").write_text(str(pid))


@pytest.mark.long
@pytest.mark.parametrize("do", [stop_agent, stop_keeper, freeze])
def test_one_that_was_stopped_is_incomplete(
    watched: Path, aside: Sidecar, do: Callable[[Sidecar, Path], Callable[[], None]]
) -> None:
    begin(aside, watched)
    with cgroup() as frozen:
        go_on = do(aside, frozen)
        time.sleep(FROZEN_S)
        go_on()
        while not of(aside.records(), "gap"):
            pass
        status, answer = aside.stop()

    (gap,) = of(aside.verified(), "gap")
    assert gap["doubt"]
    assert gap["before"] is None
    assert "stopped, or starved" in gap["reason"]
    assert status == 121
    assert [one for one in answer["incomplete_reasons"] if gap["reason"] in one]
