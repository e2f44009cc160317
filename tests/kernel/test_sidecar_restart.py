"""A sidecar that is started again goes on: what happened in between is in its evidence."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from support.lab import Lab
from support.managers import Manager, manager
from support.sidecars import Json, Sidecar, cgroup, inside, sidecar

TIMES = 20
CONNECT = "for port in $(seq 4001 {last}); do : > /dev/tcp/10.213.7.2/$port; done; true"


@pytest.fixture
def watched() -> Generator[Path]:
    with cgroup() as path:
        yield path


@pytest.fixture
def aside() -> Generator[Sidecar]:
    with sidecar() as one:
        yield one


@pytest.fixture
def service(aside: Sidecar, watched: Path) -> Generator[Manager]:
    with manager(aside, "--cgroup", str(watched)) as one:
        yield one


def connect(network: Lab, watched: Path, times: int = TIMES) -> None:
    """Connect so often, each time to another port, from the cgroup."""
    script = CONNECT.format(last=4000 + times)
    words = [*network.enter(), *inside(watched, "bash", "-c", script)]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)


def ports(one: Sidecar) -> list[int]:
    return sorted(found["dst"]["port"] for found in one.reached(ip="10.213.7.2"))


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


@pytest.mark.smoke
def test_what_is_connected_after_a_kill_is_in_the_next_run(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    killed = aside.started["run"]
    service.kill()
    connect(network, watched)
    service.start()
    status = service.stop()

    records = aside.records()
    (restart,) = of(records, "restart")
    assert of(records, "gap") == []
    assert (restart["before"], restart["ended"]) == (killed, False)
    assert restart["waiting"] >= TIMES
    assert (restart["losses"], restart["doubt"]) == ({}, False)
    assert ports(aside) == [*range(4001, 4001 + TIMES)]
    assert status == 0
    assert service.store == []
