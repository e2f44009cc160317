"""What processes belong to by descent."""

from pathlib import Path

import pytest

from egressmon.attribution import descent
from egressmon.attribution.descent import (
    Descent,
    JobRoot,
    is_engine,
    of_child,
    of_existing,
    of_program,
    with_step,
)
from egressmon.attribution.existing import Existing
from egressmon.attribution.jobs import find_job
from egressmon.evidence.records.actors import Step

STEP = Step("github", "one", "build", {})
OTHER = Step("github", "two", "build", {})
MACHINE = Descent("machine")


def process(
    pid: int,
    parent: int,
    exe: str,
    session: int = 0,
    environment: bytes | None = None,
) -> Existing:
    comm = exe.rpartition("/")[2][:15]
    return Existing(
        pid, parent, 0, comm, 100 + pid, exe, True, None, 1, 1,
        session=session, environment=environment,
    )  # fmt: skip


RUNNER = [
    process(1, 0, "/sbin/init"),
    process(10, 1, "/r/Runner.Listener", 10),
    process(11, 10, "/r/Runner.Worker", 10),
    process(12, 11, "/bin/bash", 12, b"GITHUB_ACTION=start\0GITHUB_JOB=build\0"),
    process(13, 12, "/bin/sleep", 12),
    process(20, 1, "/usr/sbin/cron", 20),
]


def test_what_descends_from_a_ci_agent_is_the_job_and_the_agent_is_not() -> None:
    found = of_existing(RUNNER, None)

    assert {pid: one.origin for pid, one in found.items()} == {
        1: "machine", 10: "machine", 11: "machine", 12: "job", 13: "job",
        20: "machine",
    }  # fmt: skip
    assert found[13].step is not None
    assert found[13].step.name == "start"
    assert found[11].step is None


def test_an_agent_that_only_the_climb_knows_begins_jobs() -> None:
    java = [process(5, 1, "/usr/bin/java", 5), process(6, 5, "/bin/sh", 6)]
    root = find_job(6, {one.pid: one for one in java}.get)

    assert root == JobRoot(5, 105, "java", kind="runner")
    found = of_existing(java, root)
    assert [found[pid].origin for pid in (5, 6)] == ["machine", "job"]
    assert of_child(found[5], "/usr/bin/java").origin == "job"
    assert of_existing(java, None)[6].origin == "machine"


def test_without_an_agent_the_job_is_the_callers_session() -> None:
    shells = [
        process(30, 1, "/usr/sbin/sshd", 30),
        process(31, 30, "/bin/bash", 31),
        process(32, 31, "/usr/bin/sudo", 31),
        process(33, 32, "/usr/bin/python3", 33),
        process(34, 1, "/bin/orphan", 31),
    ]
    root = find_job(33, {one.pid: one for one in shells}.get)

    assert root == JobRoot(31, 131, "bash", kind="session")
    found = of_existing(shells, root)
    assert {pid: one.origin for pid, one in found.items()} == {
        30: "machine", 31: "job", 32: "job", 33: "job", 34: "job"
    }  # fmt: skip


def test_what_systemd_starts_has_no_job() -> None:
    assert find_job(1, {one.pid: one for one in RUNNER}.get) is None
    assert find_job(404, {one.pid: one for one in RUNNER}.get) is None


def test_another_process_by_the_number_of_the_root_is_not_it() -> None:
    root = JobRoot(20, 1, "cron", kind="runner")
    later = [*RUNNER, process(21, 20, "/bin/sh", 21)]

    assert of_existing(later, root)[21].origin == "machine"


def test_what_goes_in_circles_ends() -> None:
    circle = [process(5, 6, "/bin/a"), process(6, 5, "/bin/b")]

    assert of_existing(circle, None)[5].origin == "machine"


def test_a_step_within_a_step_is_none() -> None:
    begun = with_step(Descent("job"), STEP)

    assert begun.step == STEP
    assert with_step(begun, OTHER).step == STEP
    assert with_step(begun, None) is begun
    assert of_child(begun, "/opt/Runner.Worker") == begun


def test_children_of_later_agents_are_jobs() -> None:
    assert of_child(MACHINE, "/opt/gitlab-runner").origin == "job"
    assert of_child(MACHINE, "/usr/bin/java").origin == "machine"


def test_an_engine_is_one_of_roots_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "dockerd"
    program.touch()
    is_engine.cache_clear()

    assert not is_engine(str(program))  # others may write in /tmp
    assert not is_engine("dockerd")
    assert not is_engine("/no/such/dockerd")
    assert not is_engine("/usr/bin/env")
    monkeypatch.setattr(descent, "is_engine", bool)
    assert of_program(MACHINE, "/usr/bin/dockerd").origin == "engine"
    assert of_program(Descent("job"), "/usr/bin/dockerd").origin == "job"
    assert of_program(Descent(None), "/usr/bin/dockerd").origin is None
    assert of_existing([process(7, 1, "/usr/bin/dockerd")], None)[7].origin == "engine"
