"""A sidecar's evidence: in segments, root's, and written on after the disk was full."""

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from blake3 import blake3

from support import waiting
from support.lab import Lab
from support.sidecars import Json, Sidecar, cgroup, inside
from support.users import NOBODY
from support.watching import EGRESSMON

MANY = (
    "import socket, sys\n"
    "for port in range(*map(int, sys.argv[1:])):\n"
    "    with socket.socket() as s: s.connect_ex(('10.213.7.2', port))\n"
)


@pytest.fixture
def watched() -> Generator[Path]:
    """A cgroup that is there before the sidecar."""
    with cgroup() as path:
        yield path


def begin(one: Sidecar, *options: str) -> None:
    """Start it with the test's policy."""
    (one.folder / "token").unlink(missing_ok=True)
    done = one.start("--policy", str(one.folder / "egress.toml"), *options)
    assert done.returncode == 0, done.stderr


def connect(lab: Lab, cgroup: Path, first: int, last: int) -> None:
    """Connect to many ports from `cgroup`, in the test's network."""
    words = inside(cgroup, sys.executable, "-I", "-c", MANY, str(first), str(last))
    subprocess.run([*lab.enter(), *words], check=True)


def until(one: Sidecar, count: Callable[[Json], int], least: int) -> int:
    """Wait until a count of its status is at least so high; return how many records."""
    status = one.status()

    def is_high() -> bool:
        status.update(one.status())
        return count(status) >= least

    waiting.until(is_high, lambda: status)
    return int(status["records"])


def written(status: Json) -> int:
    """Return how many records are written."""
    return int(status["records"])


def lost(status: Json) -> int:
    """Return how many records could not be."""
    return int(status["lost"])


def connections(status: Json) -> int:
    """Return how many connections were seen."""
    return sum(dict[str, int](status["connections"]).values())


@pytest.mark.smoke
def test_evidence_goes_on_in_further_files(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched), "--segment-size", "20kB")
    for first in range(5000, 5100, 20):
        aside.ask("mark", f"from {first}")
        connect(network, watched, first, first + 20)
    status, answer = aside.stop()

    assert (status, answer["incomplete_reasons"]) == (0, [])
    records, files = aside.verified(), aside.segments()
    made = [one["dst"]["port"] for one in records if one["type"] == "connection"]
    assert sorted(made) == [*range(5000, 5100)]
    assert len(files) >= 4
    firsts = [json.loads(one.read_bytes().splitlines()[0])["type"] for one in files]
    assert firsts == ["run.start", *["segment"] * (len(files) - 1)]
    folder = Path(answer["evidence"])
    assert aside.started["evidence"] == str(folder) == str(aside.folder / "evidence")
    last = files[-1].read_bytes().splitlines()[-1]
    assert answer["head"] == f"blake3:{blake3(last).hexdigest()}"
    assert answer["records"] == len(records)
    manifest = folder / f"{answer['run']}.manifest.json"
    assert json.loads(manifest.read_bytes())["complete"]
    assert {*folder.iterdir()} == {*files, manifest}


def test_a_segment_that_is_changed_or_removed_is_missed(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched), "--segment-size", "8kB")
    connect(network, watched, 5000, 5040)
    aside.stop()
    aside.verified()
    second = aside.segments()[1]
    data = second.read_bytes()

    second.write_bytes(data.replace(b"10.213.7.2", b"10.213.7.3", 1))
    found = [one for one in aside.verify().found if one.path == str(second)]
    assert {"segment", "chain"} & {one.kind for one in found}
    assert any("changed" in one.message for one in found)
    second.unlink()
    assert any("missing" in one.message for one in aside.verify().found)
    second.write_bytes(data)
    aside.verified()


def test_a_segment_that_is_changed_during_the_run_makes_it_incomplete(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched), "--segment-size", "8kB")
    connect(network, watched, 5000, 5040)
    until(aside, written, 60)
    first = aside.segments()[0]
    first.write_bytes(first.read_bytes().replace(b"run.start", b"run.stark", 1))
    status, answer = aside.stop()

    assert status == 121
    assert any(
        "changed by somebody else" in one for one in answer["incomplete_reasons"]
    )


def test_files_are_roots_and_readable_by_who_started_it(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    folder = aside.folder / "evidence"
    where = ["--evidence", str(folder), "--detach", "--json"]
    starter = ["--starter", f"{NOBODY}:{NOBODY}", "--segment-size", "8kB"]
    done = aside.ask("--cgroup", str(watched), *where, *starter, umask=0o077)
    assert done.returncode == 0, done.stderr
    aside.started = json.loads(done.stdout)
    connect(network, watched, 5000, 5040)
    token = aside.started["token"]
    done = aside.ask("stop", "--json", "--token-stdin", input=token)

    assert json.loads(done.stdout)["concluded"]
    made = [folder, *sorted(folder.iterdir())]
    assert len(made) > 4
    found = [(one.stat().st_uid, one.stat().st_gid) for one in made]
    assert found == [(0, NOBODY)] * len(made)
    assert [one.stat().st_mode & 0o777 for one in made[1:]] == [0o640] * (len(made) - 1)


def test_several_runs_are_in_one_folder(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    for _ in range(2):
        begin(aside, "--cgroup", str(watched), "--segment-size", "8kB")
        connect(network, watched, 5000, 5020)
        assert aside.stop()[0] == 0
    folder = aside.started["evidence"]

    policy = ["--policy", str(aside.folder / "egress.toml")]
    done = subprocess.run(
        [*EGRESSMON, "verify", folder, "--format", "json", *policy],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    runs = {one["run"] for one in json.loads(done.stdout)["files"]}
    assert len(runs) == 2
    assert aside.started["run"] in runs


@contextmanager
def small_disk(path: Path) -> Generator[None]:
    """Have a disk of 2 MiB at `path`, and nowhere else."""
    path.mkdir()
    options = "size=2m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path) -> None:
    """Have the file at `path` take what there is of its disk."""
    with suppress(OSError), path.open("wb", 0) as file:
        while file.write(b"\0" * 4096):
            pass


def test_the_disk_may_be_full_for_some_time(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    with small_disk(aside.folder / "evidence"):
        options = ["--heartbeat", "100ms", "--segment-size", "20kB"]
        begin(aside, "--cgroup", str(watched), *options)
        connect(network, watched, 5000, 5020)
        until(aside, connections, 20)
        filling = aside.folder / "evidence" / "filling"
        fill(filling)
        connect(network, watched, 5020, 5040)
        before = until(aside, lost, 1)
        filling.unlink()
        until(aside, written, before + 5)
        connect(network, watched, 5040, 5060)
        status, answer = aside.stop()

        assert status == 121
        assert any("took nothing" in one for one in answer["incomplete_reasons"])
        records = aside.verified()
        told = [one for one in records if one["type"] == "loss"]
        assert {one["where"] for one in told} == {"evidence"}
        counted = records[-1]["losses"]["evidence"]
        assert sum(one["count"] for one in told) == counted > 0
        made = [one["dst"]["port"] for one in records if one["type"] == "connection"]
        assert {*range(5000, 5020), *range(5040, 5060)} <= {*made}


def test_a_run_that_ends_while_the_disk_is_full_has_its_end(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    with small_disk(aside.folder / "evidence"):
        begin(aside, "--cgroup", str(watched), "--heartbeat", "100ms")
        filling = aside.folder / "evidence" / "filling"
        fill(filling)
        connect(network, watched, 5000, 5040)
        until(aside, lost, 1)
        status, _ = aside.stop()

        assert status == 121
        assert aside.verified()[-1]["type"] == "run.end"


def test_a_start_that_fails_leaves_no_files(aside: Sidecar) -> None:
    done = aside.start("--cgroup", "/no/such")

    assert done.returncode == 125
    assert [*(aside.folder / "evidence").iterdir()] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--segment-size", "0MB"], "write 4kB or more"),
        (["--segment-age", "500ms"], "write 1s or more"),
    ],
)
def test_segments_have_a_least_size(
    aside: Sidecar, options: list[str], said: str
) -> None:
    done = aside.start(*options)

    assert done.returncode == 125
    assert said in done.stderr
