"""Connections are counted by container, with the name that its engine gives it."""

from types import SimpleNamespace
from typing import cast

from egressmon.evidence.container_tally import ContainerTally
from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.evidence.records.traffic import ConnectionRecord


def connection(key: str | None, verdict: str = "allowed") -> ConnectionRecord:
    process = SimpleNamespace(container=key)
    return cast("ConnectionRecord", SimpleNamespace(process=process, verdict=verdict))


def container(key: str, name: str | None, *, confirmed: bool) -> ContainerRecord:
    made = SimpleNamespace(key=key, name=name, confirmed=confirmed)
    return cast("ContainerRecord", made)


def test_connections_are_counted_by_container() -> None:
    tally = ContainerTally()
    for verdict in ("allowed", "violation"):
        tally.add(connection("docker:a@5", verdict))
    tally.add(connection(None))

    assert tally.connections == {"docker:a@5": 2}
    assert tally.violations == {"docker:a@5": 1}


def test_a_name_that_is_not_confirmed_is_marked() -> None:
    tally = ContainerTally()
    assert tally.label("docker:a@5") == "docker:a@5"
    tally.meet(container("docker:a@5", "web", confirmed=True))
    assert tally.label("docker:a@5") == "web (docker:a@5)"
    tally.meet(container("docker:a@5", "web", confirmed=False))
    assert tally.label("docker:a@5") == "web? (docker:a@5)"


def test_of_very_many_some_are_together() -> None:
    tally = ContainerTally()
    for number in range(2000):
        tally.add(connection(f"docker:a@{number}"))

    assert len(tally.connections) == 1001
    assert tally.connections.total() == 2000
    assert tally.label("") == "others"
