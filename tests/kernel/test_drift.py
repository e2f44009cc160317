"""Real runs, their baseline, and what drifts from it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.lab import HTTP_PORT, OTHER_PORT, Lab
from support.watching import EGRESSMON, watch

POLICY = f"""\
version = 1
enforce = "fail"

[[allow]]
host = "*.example.test"
ports = [{HTTP_PORT}, {OTHER_PORT}]
"""
CLIENT = """
import socket, sys
for where in sys.argv[1:]:
    host, port = where.split(":")
    socket.create_connection((host, int(port)), 10).close()
"""


def drift(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EGRESSMON, *map(str, words)], check=False, capture_output=True, text=True
    )


@pytest.fixture
def nights(network: Lab, tmp_path: Path) -> list[Path]:
    """The evidence of three nights: two alike, and one with more."""
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    usual = ["python3", str(client), f"four.example.test:{HTTP_PORT}"]
    more = [*usual, f"late.example.test:{OTHER_PORT}"]
    found: list[Path] = []
    for number, command in enumerate((usual, usual, more)):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = watch(folder, *command, policy=POLICY, prefix=network.enter())
        assert done.status == 0, done.stderr
        found.append(folder / "evidence.jsonl")
    return found


def test_what_a_night_adds_is_told_with_who_did_it(
    nights: list[Path], tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.toml"
    policy = tmp_path / "0" / "policy.toml"
    words = ("drift", baseline, "--policy", policy)
    made = [drift("baseline", "write", night) for night in nights[:2]]
    assert made[0].returncode == 0, made[0].stderr
    assert made[0].stdout == made[1].stdout  # no times, no pids

    baseline.write_text(made[0].stdout)
    same = drift(*words, nights[1])
    other = drift(*words, *nights, "--format", "json")

    assert same.returncode == 0, same.stdout
    assert other.returncode == 1, other.stderr
    changes: list[dict[str, Any]] = json.loads(other.stdout)["changes"]
    told = {(one["word"], one["kind"], one["what"]): one for one in changes}
    new = told["new", "destination", f"late.example.test:{OTHER_PORT}/tcp"]
    assert new["who"][0]["program"].startswith("python3")
    assert new["since"]["began"] > json.loads(other.stdout)["runs"][1]["began"]
    assert ("new", "lookup", "look-up of late.example.test") in told
    assert not [one for one in changes if one["word"] == "violation"]
