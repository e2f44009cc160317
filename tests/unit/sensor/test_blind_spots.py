"""Blind spots: what a machine may keep from being seen, and no other."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from egressmon import host
from egressmon.probes.engine import Engine
from egressmon.sensor.blind_spots import ALWAYS, KnownBlindSpot, declared, of_command
from egressmon.sensor.escalation import Escalation
from egressmon.sensor.found_scope import FoundScope
from egressmon.sensor.lineage_scope import LineageScope
from egressmon.sensor.surroundings import Surroundings


def engine(*, able: bool) -> Engine:
    """Stand for an engine that can do all, or nothing."""
    stand_in = SimpleNamespace(
        root_hooks=able,
        watches_calls=able,
        watches_rings=able,
        watches_cgroups=able,
        counts_skipped=able,
        frames=object() if able else None,
        no_frames="no frames",
    )
    return cast("Engine", stand_in)


def test_each_one_is_declared_where_nothing_can_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "proc_is_ours", lambda: False)
    monkeypatch.setattr(host, "hierarchy_is_whole", lambda: False)
    worst = Surroundings(may_change_network=True, same_user_runs=True)
    scope = object.__new__(LineageScope)
    scope.watched, scope.root = Path("/cgroup/part"), Path("/cgroup")
    escalation = Escalation(as_root="root", can_sudo="sudo", withheld_by=None)

    found = declared(
        engine(able=False),
        "no mappings",
        "no creators",
        surroundings=worst,
        scope=scope,
        frames=True,
        is_part=True,
    )

    names = [spot.name for spot in (*found, *of_command(escalation))]
    assert sorted(names) == sorted(blind.value.name for blind in KnownBlindSpot)


def test_a_machine_that_can_do_all_has_those_that_are_always_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "proc_is_ours", lambda: True)
    monkeypatch.setattr(host, "hierarchy_is_whole", lambda: True)
    best = Surroundings(may_change_network=False, same_user_runs=False)

    found = declared(engine(able=True), surroundings=best, frames=True)

    assert found == [blind.value for blind in ALWAYS]


def test_nothing_is_outside_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "proc_is_ours", lambda: True)
    monkeypatch.setattr(host, "hierarchy_is_whole", lambda: True)
    scope = object.__new__(FoundScope)
    scope.watched = scope.root = Path("/cgroup")
    seen = Surroundings(may_change_network=True, same_user_runs=False)

    found = declared(engine(able=True), surroundings=seen, scope=scope, frames=True)

    names = {spot.name for spot in found}
    assert "existing-sockets" in names
    assert "foreign-packets" not in names
