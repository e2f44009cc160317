"""A real program is learned and audited, and its policy compared with the evidence."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.lab import HTTP_PORT, OTHER4, OTHER_PORT
from support.watching import EGRESSMON, Watched, check_verifies

Watch = Callable[..., Watched]

# The parent ends first; the grandchild goes on, and only then connects.
PROGRAM = f"""
import os, socket, subprocess, sys, time
import sdk
sdk.call()
sdk.call()
if os.fork() == 0:
    parent = os.getppid()
    os.setsid()
    while os.getppid() == parent:
        time.sleep(0.01)
    socket.create_connection(({OTHER4!r}, {OTHER_PORT})).close()
    os._exit(0)
subprocess.run(["curl", "-sS", "-4", "-o", "/dev/null", "http://api.example.test/"])
socket.getaddrinfo("late.example.test", 80)
"""
SDK = f"""
import urllib.request

def call():
    urllib.request.urlopen("http://four.example.test:{HTTP_PORT}/").read()

def _check_for_updates():
    urllib.request.urlopen("http://six.example.test:{OTHER_PORT}/").read()

_check_for_updates()
"""


def learned(watched: Watch, folder: Path) -> Watched:
    (folder / "sdk.py").write_text(SDK)
    (folder / "main.py").write_text(PROGRAM)
    run = watched("python3", "main.py", verb="learn", options=["--audit"])
    assert run.status == 0, run.stderr
    return run


def against(
    policy: Path, evidence: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    words = [*EGRESSMON, "policy", "check", str(policy), "--against", str(evidence)]
    return subprocess.run(
        [*words, *options], check=False, capture_output=True, text=True
    )


def test_a_program_is_learned_with_an_inventory_of_its_phases(
    watched: Watch, tmp_path: Path
) -> None:
    run = learned(watched, tmp_path)

    text = (tmp_path / "SURFACES.md").read_text()
    assert "inventory, for review: SURFACES.md" in run.stderr
    phases = text.split("\n## ")
    titles = [one.partition("\n")[0] for one in phases]
    assert titles[1:4] == ["Phase `import`", "Phase `run`", "Phase `after the command`"]
    imported, running, after = phases[1:4]
    assert f"`six.example.test:{OTHER_PORT}/tcp` | 1 |" in imported
    assert "`python3.11" in imported
    assert "_check_for_updates" in imported
    assert "why does an import connect?" in imported
    assert f"`four.example.test:{HTTP_PORT}/tcp` | 2 |" in running
    assert f"`api.example.test:{HTTP_PORT}/tcp` | 1 | `curl (libcurl" in running
    assert f"`{OTHER4}:{OTHER_PORT}/tcp` | 1 |" in after
    assert "`late.example.test`" in phases[4]
    status = (tmp_path / "SURFACES.md").stat()
    assert status.st_uid == os.getuid()


def test_what_was_learned_fits_and_what_is_wider_or_missing_is_told(
    watched: Watch, tmp_path: Path
) -> None:
    run = learned(watched, tmp_path)
    policy, evidence = tmp_path / "egress.toml", tmp_path / "evidence.jsonl"
    check_verifies(evidence, policy)

    fits = against(policy, evidence)

    assert fits.returncode == 0, fits.stdout + fits.stderr
    text = policy.read_text()
    text = text.replace('host = "six.example.test"', 'host = "**.example.test"')
    text += '[[allow]]\nhost = "old.example.test"\n'
    text = text.replace(f'cidr = "{OTHER4}"', 'cidr = "192.0.2.7"')
    policy.write_text(text)

    differs = against(policy, evidence, "--format", "json")

    assert differs.returncode == 1, differs.stderr
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(differs.stdout)["findings"]:
        found.setdefault(one["kind"], []).append(one)
    assert [one["toml"] for one in found["uncovered"]] == [
        f'[[allow]]\ncidr = "{OTHER4}"\nports = [{OTHER_PORT}]\n'
    ]
    assert {one["text"].partition(":")[0] for one in found["unused"]} >= {
        "192.0.2.7/32",
        "old.example.test",
    }
    assert run.end["complete"]


def test_neither_file_is_replaced(watched: Watch, tmp_path: Path) -> None:
    (tmp_path / "SURFACES.md").write_text("mine\n")

    run = watched("touch", str(tmp_path / "ran"), verb="learn", options=["--audit"])

    assert run.status == 125
    assert "another --audit" in run.stderr
    assert (tmp_path / "SURFACES.md").read_text() == "mine\n"
    assert not (tmp_path / "egress.toml").exists()
    assert not (tmp_path / "ran").exists()


def test_an_inventory_has_another_place_than_the_policy(
    watched: Watch, tmp_path: Path
) -> None:
    run = watched("true", verb="learn", options=["--audit", "egress.toml"])

    assert run.status == 125
    assert "would both be egress.toml" in run.stderr
    assert list(tmp_path.glob("*.toml")) == []


def test_an_inventory_is_written_to_standard_output(watched: Watch) -> None:
    run = watched("true", verb="learn", options=["--audit", "-"])

    assert run.status == 0, run.stderr
    assert run.stdout.startswith("# Surfaces\n")
