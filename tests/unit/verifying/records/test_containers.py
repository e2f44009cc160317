"""What records say of containers is checked against one another."""

from typing import Any

import pytest

from egressmon.verifying.records.containers import MetContainers, contradiction

Json = dict[str, Any]


def container(**fields: object) -> Json:
    return {
        "type": "container", "key": "docker:a@5", "id": "a" * 64, "cgroup": "/docker/a",
        "made_by": 0, "outer": None, "confirmed": True, "reason": None, **fields,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["actor", "process"])
def test_a_container_is_told_of_before_it_is_referred_to(kind: str) -> None:
    met = MetContainers()
    refers = {"type": kind, "container": "docker:a@5"}

    assert "is not before it" in (met.add(refers) or "")
    assert met.add(container()) is None
    assert met.add(refers) is None
    assert met.add({"type": kind, "container": None}) is None
    assert met.add({"type": kind}) is None
    assert met.add({"type": "connection"}) is None


def test_one_in_another_is_told_of_after_that() -> None:
    met = MetContainers()

    assert met.add(container(key="docker:b@6", outer="docker:a@5")) is not None
    met.add(container())
    assert met.add(container(key="docker:b@6", outer="docker:a@5")) is None


def test_of_very_many_none_is_missed() -> None:
    met = MetContainers()
    for number in range(65537):
        met.add(container(key=f"docker:a@{number}"))

    assert met.add({"type": "actor", "container": "docker:a@65536"}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"made_by": 1000},
        {"made_by": None},
        {"id": None},
        {"cgroup": None},
        {"confirmed": False},
        {"confirmed": False, "reason": "why", "watched": "no"},
        {"watched": "doubt", "watched_reason": None},
    ],
)
def test_what_cannot_be_is_told(fields: Json) -> None:
    assert contradiction(container()) is None
    assert contradiction(container(confirmed=False, reason="why")) is None
    assert contradiction(container(**fields)) is not None
