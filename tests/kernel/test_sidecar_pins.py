"""A sidecar whose probes are pinned in a bpffs, where no systemd keeps them."""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from support.lab import Lab
from support.sidecars import Json, Sidecar, cgroup, inside, sidecar

TIMES = 20
CONNECT = "for port in $(seq 4001 4020); do : > /dev/tcp/10.213.7.2/$port; done; true"


@pytest.fixture
def watched() -> Generator[Path]:
    with cgroup() as path:
        yield path


@pytest.fixture
def bpffs(aside: Sidecar) -> Generator[Path]:
    path = aside.folder / "bpf"
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def begin(one: Sidecar, watched: Path, pins: Path) -> None:
    (one.folder / "token").unlink(missing_ok=True)
    done = one.start(
        *("--cgroup", str(watched), "--policy", str(one.folder / "egress.toml")),
        *("--keep-probes", str(pins)),
    )
    assert done.returncode == 0, done.stderr


def kill(one: Sidecar) -> None:
    """Kill the keeper, and with it the agent, and wait until that is gone."""
    children = Path(f"/proc/{one.keeper}/task/{one.keeper}/children")
    pidfd = os.pidfd_open(int(children.read_text().split()[-1]))
    os.kill(one.keeper, signal.SIGKILL)
    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)


def connect(network: Lab, watched: Path) -> None:
    words = [*network.enter(), *inside(watched, "bash", "-c", CONNECT)]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


@pytest.mark.smoke
def test_what_is_connected_after_a_kill_is_in_the_next_run(
    network: Lab, watched: Path, aside: Sidecar, bpffs: Path
) -> None:
    begin(aside, watched, bpffs / "egressmon")
    killed = aside.started["run"]
    kill(aside)
    connect(network, watched)
    begin(aside, watched, bpffs / "egressmon")
    status, _ = aside.stop()

    (restart,) = of(aside.records(), "restart")
    assert (restart["before"], restart["kept_by"]) == (killed, "bpffs")
    assert (restart["losses"], restart["doubt"]) == ({}, False)
    found = aside.reached(ip="10.213.7.2")
    assert sorted(one["dst"]["port"] for one in found) == [*range(4001, 4001 + TIMES)]
    assert of(aside.records(), "gap") == []
    assert status == 0
    assert [*(bpffs / "egressmon").iterdir()] == []


def test_a_signal_ends_it_for_good(watched: Path, aside: Sidecar, bpffs: Path) -> None:
    begin(aside, watched, bpffs / "egressmon")
    pidfd = os.pidfd_open(aside.keeper)
    os.kill(aside.keeper, signal.SIGTERM)
    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)
    assert [*(bpffs / "egressmon").iterdir()] == []
    begin(aside, watched, bpffs / "egressmon")
    assert aside.stop()[0] == 0

    assert of(aside.records(), "restart") == []


def test_what_is_missing_is_a_gap(watched: Path, aside: Sidecar, bpffs: Path) -> None:
    pins = bpffs / "egressmon"
    begin(aside, watched, pins)
    kill(aside)
    (pins / "3").unlink()
    (pins / "folder").mkdir()
    begin(aside, watched, pins)
    status, _ = aside.stop()

    (gap,) = of(aside.records(), "gap")
    assert "were not taken up: they cannot be opened" in gap["reason"]
    assert status == 121


def test_only_one_sidecar_keeps_its_probes_there(
    watched: Path, aside: Sidecar, bpffs: Path
) -> None:
    begin(aside, watched, bpffs / "egressmon")
    with sidecar() as other:
        done = other.start(
            *("--cgroup", str(watched), "--policy", str(other.folder / "egress.toml")),
            *("--keep-probes", str(bpffs / "egressmon")),
        )
    assert aside.stop()[0] == 0

    assert done.returncode == 125
    assert "another sidecar keeps its own there" in done.stderr


def _outside(bpffs: Path) -> Path:
    return bpffs.parent / "plain"


def _for_all(bpffs: Path) -> Path:
    return bpffs


def _nowhere(bpffs: Path) -> Path:
    return bpffs / "not" / "there"


def _link(bpffs: Path) -> Path:
    (bpffs / "real").mkdir(mode=0o700)
    (bpffs / "link").symlink_to(bpffs / "real")
    return bpffs / "link"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_outside, "it is in no bpffs"),
        (_for_all, "others than root may enter it"),
        (_nowhere, "No such file or directory"),
        (_link, "Not a directory"),
    ],
)
def test_other_folders_are_refused(
    watched: Path, aside: Sidecar, bpffs: Path, make: Callable[[Path], Path], why: str
) -> None:
    done = aside.start(
        *("--cgroup", str(watched), "--policy", str(aside.folder / "egress.toml")),
        *("--keep-probes", str(make(bpffs))),
    )

    assert done.returncode == 125
    assert why in done.stderr
    assert "mount -t bpf" in done.stderr
