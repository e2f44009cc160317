"""What real runs leave verifies; what a command or another user does to it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egressmon.locking import write_lock
from support.forging import Json, forge
from support.users import NOBODY
from support.watching import EGRESSMON, ENGINE, Watched, watch

POLICY = """\
version = 1
enforce = "fail"
[[allow]]
cidr = "127.0.0.2/32"
ports = "any"
by = { exe = ["*/python3*"] }
"""
CODE = """\
import socket
for address in ("127.0.0.2", "127.0.0.3", "192.0.2.7"):
    with socket.socket() as one:
        one.settimeout(0.2)
        one.connect_ex((address, 9))
"""


def verified(*words: str) -> tuple[int, Json]:
    done = subprocess.run(
        [*EGRESSMON, "verify", "--format", "json", *words],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, json.loads(done.stdout)


def run(folder: Path, *options: str) -> Watched:
    return watch(folder, sys.executable, "-c", CODE, policy=POLICY, options=options)


def test_a_run_verifies_and_each_verdict_is_made_again(tmp_path: Path) -> None:
    log = tmp_path / "ci.log"
    done = run(tmp_path, "--anchor", str(log), "--anchor-every", "10ms")
    assert done.status == 120
    write_lock(str(tmp_path), policy="policy.toml")
    status, found = verified("--anchor", str(log), str(tmp_path))
    assert found["findings"] == []
    assert status == 0
    (file,) = found["files"]
    assert file["verdict"] == "violations"
    assert file["unjudged"] is None
    assert file["judged"] + sum(file["resting"].values()) == len(done.of("connection"))


def test_a_violation_that_is_made_allowed_is_found(tmp_path: Path) -> None:
    run(tmp_path)

    def allow(records: list[Json]) -> None:
        for one in records:
            if one.get("verdict") == "violation":
                one.update(verdict="allowed", rule="allow[0]")
        end = records[-1]
        allowed = sum(end["connections"].values())
        end.update(connections={"allowed": allowed}, verdict="clean", exit_status=0)

    forge(tmp_path / "evidence.jsonl", allow)
    status, found = verified(str(tmp_path / "evidence.jsonl"))
    assert status == 1
    assert "verdict" in {one["kind"] for one in found["findings"]}


def test_a_reader_of_anchors_that_takes_nothing_holds_no_run_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        options = ("--anchor", str(tmp_path / "pipe"), "--anchor-every", "0s")
        done = watch(tmp_path, "true", options=options)
    finally:
        os.close(reader)
    assert done.status == 0, done.stderr
    assert done.end["verdict"] == "clean"


@pytest.mark.parametrize("way", ["symlink", "hardlink", "swapped"])
def test_evidence_goes_over_no_file_that_another_user_planted(
    tmp_path: Path, way: str
) -> None:
    secret = tmp_path / "etc"
    secret.mkdir()
    victim = secret / "e.jsonl"
    victim.write_text("kept\n")
    planted = tmp_path / "out"
    if way == "swapped":
        planted.symlink_to(secret)
        os.chown(planted, NOBODY, NOBODY, follow_symlinks=False)
    else:
        planted.mkdir()
        os.chown(planted, NOBODY, NOBODY)
        if way == "symlink":
            (planted / "e.jsonl").symlink_to(victim)
            os.chown(planted / "e.jsonl", NOBODY, NOBODY, follow_symlinks=False)
        else:
            (planted / "e.jsonl").hardlink_to(victim)
    evidence = str(planted / "e.jsonl")
    done = subprocess.run(
        [*EGRESSMON, "watch", "--engine", ENGINE, "--evidence", evidence, "--", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 121
    assert "evidence cannot be written to" in done.stderr
    assert victim.read_text() == "kept\n"


# The folder is swapped for a link while the run goes on: the agent has the file open.
def test_a_folder_that_is_swapped_during_the_run_is_noticed(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    code = (
        "import os\n"
        f"os.rename({str(out)!r}, {str(out) + '.old'!r})\n"
        f"os.symlink({str(other)!r}, {str(out)!r})\n"
    )
    words = [sys.executable, "-c", code]
    evidence = str(out / "e.jsonl")
    done = subprocess.run(
        [*EGRESSMON, "watch", "--engine", ENGINE, "--evidence", evidence, "--", *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 121
    assert "another file is in its place" in done.stderr
    assert not any(other.iterdir())
