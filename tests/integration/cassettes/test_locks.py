"""Locks of cassettes, what drifts, and recording anew: as commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.recording import SECRETS, Project, Service, service

TESTS = """
@pytest.mark.vcr
def test_one(): ask("/json?page=1")

@pytest.mark.vcr
def test_two(): ask("/event")
"""


@pytest.fixture
def running() -> Iterator[Service]:
    with service() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, running: Service) -> Project:
    made = Project(tmp_path, running.address, TESTS)
    done = made.refresh()
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def only(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path


def test_what_was_recorded_is_clean_and_locked(project: Project) -> None:
    lines = (project.cassettes / "cassettes.lock").read_text().splitlines()

    assert [line.split("  ")[0] for line in lines[:2]] == [
        "test_it/test_one.yaml",
        "test_it/test_two.yaml",
    ]
    assert lines[2:5] == ["# policy none", "# plan none", "# tools 1"]
    assert lines[5].startswith("# tool secrets catalog sha256:")
    assert not any(value.encode() in project.recorded() for value in SECRETS.values())
    done = project.egressmon("cassettes", "verify")
    assert done.returncode == 0, done.stdout
    assert done.stdout == "cassettes: as locked\n"


def test_each_difference_has_its_word(project: Project) -> None:
    one = only(project.cassettes, "test_one.yaml")
    one.write_bytes(one.read_bytes() + b"\n")
    only(project.cassettes, "test_two.yaml").unlink()
    (one.parent / "three.yaml").write_text("interactions: !!python/name:os.system\n")
    lock = project.cassettes / "cassettes.lock"
    lock.write_text(lock.read_text()[:-65] + "0" * 64 + "\n")

    done = project.egressmon("cassettes", "verify", "cassettes")

    assert done.returncode == 1
    found = {line.partition(": ")[0]: line for line in done.stdout.splitlines()}
    words = {path: line.split(": ")[1] for path, line in found.items()}
    assert words["cassettes/test_it/test_one.yaml"] == "changed"
    assert words["cassettes/test_it/test_two.yaml"] == "missing"
    assert words["cassettes/cassettes.lock"] == "stale"
    assert "cassettes/test_it/three.yaml: unlisted: " in done.stdout
    assert "cassettes/test_it/three.yaml: malformed: " in done.stdout
    lock.write_text("nonsense\n")
    done = project.egressmon("cassettes", "verify", "cassettes")
    assert "cassettes/cassettes.lock:1: malformed: " in done.stdout
    lock.unlink()
    done = project.egressmon("cassettes", "verify", "cassettes")
    assert "cassettes/cassettes.lock: missing: " in done.stdout


# Directories by vendor: `cassettes/acme` is held to the lock of `cassettes`.
def test_a_vendor_is_held_to_the_lock_above(project: Project) -> None:
    acme, other = project.cassettes / "acme", project.cassettes / "other"
    for folder in (acme, other):
        folder.mkdir()
        (folder / "x.yaml").write_bytes(
            only(project.cassettes, "test_one.yaml").read_bytes()
        )
    assert project.egressmon("cassettes", "lock").returncode == 0
    (other / "x.yaml").unlink()

    assert project.egressmon("cassettes", "verify", "cassettes/acme").returncode == 0
    (acme / "x.yaml").unlink()
    done = project.egressmon("cassettes", "verify", "cassettes/acme")

    assert done.returncode == 1
    assert "acme/x.yaml: missing" in done.stdout
    assert "other" not in done.stdout


def test_nothing_with_a_secret_is_locked(project: Project) -> None:
    one = only(project.cassettes, "test_one.yaml")
    one.write_text(one.read_text().replace("'***'", "x") + "# ghp_" + "a1B2" * 9 + "\n")
    before = (project.cassettes / "cassettes.lock").read_bytes()

    done = project.egressmon("cassettes", "lock")

    assert done.returncode == 1
    assert "github-token" in done.stdout
    assert "cassettes: not locked" in done.stdout
    assert (project.cassettes / "cassettes.lock").read_bytes() == before


def test_a_changed_structure_is_named_and_a_changed_value_is_not(
    project: Project, running: Service
) -> None:
    running.answer(data=[{"id": 2}])
    same = project.refresh()
    running.answer(status=404, data=[{"id": "two", "more": None}], extra={"x": [1]})
    done = project.refresh("-k", "one")

    assert same.returncode == 0, same.stdout
    assert "0 differences" in same.stdout
    assert "\nreview: changed: cassettes/test_it/test_one.yaml\n" in same.stdout
    assert done.returncode == 1  # urlopen raises for 404, so the test failed
    assert "not locked: pytest ended with 1" in done.stdout
    assert "GET http://127.0.0.1" in done.stdout
    assert "status: 200 -> 404" in done.stdout
    assert "shape $.data[].id: number -> string" in done.stdout
    assert "shape $.data[].more: new, null" in done.stdout
    assert "shape $.extra.x[]: new, number" in done.stdout


@pytest.fixture
def two(project: Project, running: Service) -> tuple[str, str]:
    project.cassettes.rename(project.root / "old")
    running.answer(more="%\n::error::x")
    assert project.refresh().returncode == 0
    return "old", "cassettes"


def test_drift_in_each_form(project: Project, two: tuple[str, str]) -> None:
    text = project.egressmon("cassettes", "drift", *two)
    parsed = project.egressmon("cassettes", "drift", *two, "--format", "json")
    github = project.egressmon("cassettes", "drift", *two, "--format", "github")

    assert text.returncode == parsed.returncode == github.returncode == 1
    assert "test_it/test_one.yaml: GET http://127.0.0.1:" in text.stdout
    assert "/json: shape $.more: new, string\n" in text.stdout
    assert text.stdout.endswith("/event: shape $[].more: new, string\n2 differences\n")
    changes = json.loads(parsed.stdout)["changes"]
    assert [(one["where"], one["new"]) for one in changes] == [
        ("$.more", "string"),
        ("$[].more", "string"),
    ]
    assert github.stdout.count("::warning file=cassettes/test_it/test_") == 2
    same = project.egressmon("cassettes", "drift", two[0], two[0])
    assert (same.returncode, same.stdout) == (0, "0 differences\n")


def test_drift_of_what_is_no_cassette(project: Project) -> None:
    (project.root / "a.yaml").write_text("a: &a [*a]\n")
    one = str(only(project.cassettes, "test_one.yaml"))

    done = project.egressmon("cassettes", "drift", "a.yaml", one)
    mixed = project.egressmon("cassettes", "drift", "a.yaml", "cassettes")
    missing = project.egressmon("cassettes", "drift", "cassettes", "nope")

    assert done.returncode == mixed.returncode == 2
    assert "a.yaml: not compared: malformed: " in done.stdout
    assert done.stdout.endswith("0 differences, 1 not compared\n")
    assert "are a file and a folder" in mixed.stderr
    assert missing.returncode == 2
    assert "nope is not there" in missing.stderr


def test_refresh_asks_to_be_sure(project: Project, running: Service) -> None:
    running.asked.clear()
    flag = "--i-understand-this-spends-tokens"

    bare = project.egressmon("cassettes", "refresh", "--", "pytest")
    nothing = project.egressmon("cassettes", "refresh", flag)
    short = project.egressmon("cassettes", "refresh", flag[:14], "--", "pytest")
    other = project.egressmon("cassettes", "refresh", flag, "--", "sh", "-c", "true")

    assert bare.returncode == nothing.returncode == other.returncode == 2
    assert short.returncode == 2
    assert "unrecognized arguments" in short.stderr
    assert "costs money" in bare.stderr
    assert "no pytest is called" in nothing.stderr
    assert "no pytest is called" in other.stderr
    assert running.asked == []


def test_a_refresh_that_fails_locks_nothing(project: Project) -> None:
    before = (project.cassettes / "cassettes.lock").read_bytes()

    none = project.refresh("-k", "nothing")
    bad = project.refresh("--no-such-option")

    assert none.returncode == bad.returncode == 1
    assert "not locked: no test was run" in none.stdout
    assert "not locked: pytest did not start" in bad.stdout
    assert (project.cassettes / "cassettes.lock").read_bytes() == before


def test_drift_is_json_whatever_a_cassette_is_called(project: Project) -> None:
    for name in ("old", "new"):
        (project.root / name).mkdir()
    (project.root / "new" / "##[error]section_start:1.yaml").write_text("x")

    done = project.egressmon("cassettes", "drift", "old", "new", "--format", "json")

    assert "##[" not in done.stdout
    (change,) = json.loads(done.stdout)["changes"]
    assert change["cassette"] == "##[error]section_start:1.yaml"
