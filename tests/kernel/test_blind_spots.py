"""Exactly these blind spots on each kernel: one more is a failure, one less too."""

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.sensor.blind_spots import KnownBlindSpot
from support.watching import ENGINE, watch

ANYWHERE = {
    *("packet-sockets", "unix-sockets", "encrypted-dns", "foreign-packets"),
    "group-reports",
    "local-rules",
    *("kernel-networking", "same-user"),  # of a command that root runs
}
BY_SERIES = {
    "5.10": ANYWHERE | {"uncounted-skips", "python-frames", "ring-sockets"},
    "6.1": ANYWHERE | {"ring-sockets"},
    "6.12": ANYWHERE,
    "6.18": ANYWHERE,
    "7.3": ANYWHERE,
}
IN_NAMESPACES = {
    "pid-namespace": ("unshare", "--pid", "--fork", "--mount-proc"),
    "cgroup-namespace": ("unshare", "--cgroup"),
}


def _expected() -> set[str]:
    series = ".".join(platform.release().split(".")[:2])
    found = BY_SERIES.get(series, ANYWHERE) | {"root-command"}
    return found | {"python-frames"} if ENGINE == "bcc" else found


@pytest.mark.smoke
def test_this_kernel_has_its_blind_spots_and_no_other(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run = watch(tmp_path, "true")

    record_property("blind_spots", ", ".join(sorted(run.blind_spots)))
    record_property("engine", run.records[0]["engine"])
    assert run.blind_spots == _expected()
    for spot in run.records[0]["blind_spots"]:
        assert spot["reason"]
        assert spot["consequence"]
        assert spot["remedy"]
    assert run.end["verdict"] == "clean"


@pytest.mark.parametrize("name", IN_NAMESPACES)
def test_a_namespace_around_egressmon_is_one_more(name: str, tmp_path: Path) -> None:
    run = watch(tmp_path, "true", prefix=IN_NAMESPACES[name])

    assert run.status == 0, run.stderr
    assert run.blind_spots == _expected() | {name}


def test_no_two_blind_spots_share_a_name() -> None:
    assert len({spot.value.name for spot in KnownBlindSpot}) == len(KnownBlindSpot)
