"""`egressmon sidecar` beside a CI job: each connection at its step and its origin."""

import json
import subprocess
import sys
from collections.abc import Generator

import pytest

from support.lab import Lab
from support.runners import github, runner
from support.sidecars import Json, Sidecar, cgroup, sidecar

FAIL = 'enforce = "fail"\n'
RECORD = '[origins]\nmachine = "record"\n'
_EACH = 20
# Each in a process of its own, which is gone at once; some by way of an orphan.
_SHORT = """\
for i in $(seq 0 19); do
  port=$(({first} + i))
  case $((i % 3)) in
    0) (: > /dev/tcp/10.213.7.2/$port) ;;
    1) bash -c ": > /dev/tcp/10.213.7.2/$port" ;;
    2) setsid -f bash -c ": > /dev/tcp/10.213.7.2/$port" ;;
  esac
done 2>/dev/null
wait
true
"""


@pytest.fixture
def aside() -> Generator[Sidecar]:
    """A sidecar whose policy allows nothing, and fails."""
    with sidecar(FAIL) as one:
        yield one


def connect(network: Lab, port: int) -> None:
    """Connect from outside the job."""
    script = f"import socket; socket.socket().connect_ex(('10.213.7.2', {port}))"
    words = [*network.enter(), sys.executable, "-I", "-c", script]
    subprocess.run(words, check=True)


def places(made: list[Json]) -> dict[int, tuple[str | None, str | None]]:
    """Return the (origin, step) of each connection, by its port."""
    found: dict[int, tuple[str | None, str | None]] = {}
    for one in made:
        step = one["process"]["step"] if one["process"] else None
        name = step["name"] if step else None
        found[one["dst"]["port"]] = one["origin"], name
    return found


@pytest.mark.smoke
def test_each_connection_of_three_steps_is_at_its_step(
    network: Lab, aside: Sidecar
) -> None:
    wanted: dict[int, tuple[str, str | None]] = {}
    with runner(aside.folder) as job:
        aside.start_in(job, "--all", "--attribution", "process")
        for number, name in enumerate(("setup", "__run_2", "tests")):
            first = 21200 + 100 * number
            script = _SHORT.format(first=first)
            done = job.step(name, *network.enter(), "bash", "-c", script)
            assert done.returncode == 0, done.stderr
            wanted |= {first + one: ("job", name) for one in range(_EACH)}
            connect(network, first + _EACH)
            wanted[first + _EACH] = "machine", None
    status, answer = aside.stop()

    assert status in {120, 121}  # others run on this machine, too
    assert answer["concluded"]
    aside.verified()
    found = places(aside.reached(ip="10.213.7.2"))  # others may have such a lab
    assert {port: found.get(port) for port in wanted} == wanted
    assert answer["origins"]["job"] == 3 * _EACH
    steps = {f"build/{name}": _EACH for name in ("setup", "__run_2", "tests")}
    assert answer["steps"] == steps
    start = next(one for one in aside.records() if one["type"] == "run.start")
    assert start["job"] == f"children of Runner.Worker ({job.process.pid})"
    text = b"".join(one.read_bytes() for one in aside.segments())
    assert b"not-to-be-kept" not in text


def test_what_a_step_says_in_its_own_environment_makes_no_other_step(
    network: Lab, aside: Sidecar
) -> None:
    with runner(aside.folder) as job:
        aside.start_in(job, "--all", "--attribution", "process")
        inner = "Runner.Worker"
        script = (
            f"GITHUB_ACTION=other exec -a {inner} bash -c 'bash -c \""
            ": > /dev/tcp/10.213.7.2/4501\" 2>/dev/null; true'"
        )
        job.step("honest", *network.enter(), "bash", "-c", script)
    aside.stop()

    assert places(aside.reached(port=4501)) == {4501: ("job", "honest")}


def test_what_is_of_the_machine_may_be_recorded_and_not_judged(network: Lab) -> None:
    with sidecar(FAIL + RECORD) as one, runner(one.folder) as job:
        one.start_in(job, "--all", "--attribution", "process")
        connect(network, 4510)
        job.step("only", *network.enter(), "bash", "-c", ": > /dev/tcp/10.213.7.2/4511")
        one.stop()
        made = {found["dst"]["port"]: found for found in one.reached(ip="10.213.7.2")}
        one.verified()

    machines, jobs = made[4510], made[4511]
    assert (machines["verdict"], machines["rule"]) == ("recorded", "origins.machine")
    assert "no allow entry covers" in machines["reason"]
    assert jobs["verdict"] == "violation"


@pytest.mark.parametrize(
    ("agent", "environment"),
    [
        ("gitlab-runner", {"CI_JOB_ID": "job-9", "CI_JOB_NAME": "the step"}),
        (
            "buildkite-agent",
            {"BUILDKITE_JOB_ID": "job-9", "BUILDKITE_LABEL": "the step"},
        ),
        ("java", {"BUILD_TAG": "job-9", "STAGE_NAME": "the step"}),
    ],
)
def test_each_ci_system_has_its_steps(
    network: Lab, aside: Sidecar, agent: str, environment: dict[str, str]
) -> None:
    with runner(aside.folder, agent) as one:
        options = ["--all", "--attribution", "process"]
        aside.start_in(one, *options, environment=environment)
        script = ": > /dev/tcp/10.213.7.2/4520"
        one.run(*network.enter(), "bash", "-c", script, environment=environment)
    aside.stop()

    (made,) = aside.reached(port=4520)
    assert made["origin"] == "job"
    assert made["process"]["step"]["name"] == "the step"
    records = [one for one in aside.verified() if one["type"] == "step"]
    assert {one["job"] for one in records} == {"job-9"}
    assert all(one["claimed"] for one in records)


def test_a_job_that_began_before_is_known_by_its_agent(
    network: Lab, aside: Sidecar
) -> None:
    waits = (
        "import socket, sys\n"
        "for line in sys.stdin: socket.socket().connect_ex(('10.213.7.2', int(line)))\n"
    )
    script = f'{sys.executable} -I -c "$0" < {aside.folder}/fifo'
    fifo = aside.folder / "fifo"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    with runner(aside.folder) as job:
        assert job.process.stdin is not None
        words = [*network.enter(), "bash", "-c", f"{script}; true", waits]
        asked = {
            "words": words,
            "environment": {**job.environment, **github("older")},
        }
        print(json.dumps(asked), file=job.process.stdin, flush=True)
        with fifo.open("w") as line:  # until it has been opened there
            done = aside.start("--all", "--policy", str(aside.folder / "egress.toml"))
            assert done.returncode == 0, done.stderr
            print(4530, file=line, flush=True)
        assert job.process.stdout is not None
        job.process.stdout.readline()
    aside.stop()

    assert places(aside.reached(port=4530)) == {4530: ("job", "older")}


def test_what_is_in_a_container_is_of_it_whoever_started_that(
    network: Lab, aside: Sidecar
) -> None:
    with cgroup() as parent, runner(aside.folder) as job:
        aside.start_in(job, "--all", "--attribution", "process")
        own = parent / f"docker-{'a1' * 32}.scope"
        own.mkdir()
        enter = f"echo $$ > {own}/cgroup.procs"
        words = ["bash", "-c", f"{enter}; : > /dev/tcp/10.213.7.2/4540"]
        job.step("of a job", *network.enter(), *words)
        with runner(aside.folder, "containerd-shim-runc-v2") as shim:
            words = ["bash", "-c", f"{enter}; (: > /dev/tcp/10.213.7.2/4541); true"]
            shim.step("of an engine", *network.enter(), *words)
    aside.stop()

    aside.verified()
    found = places([*aside.reached(port=4540), *aside.reached(port=4541)])
    assert found == {
        4540: ("container", "of a job"),
        4541: ("container", "of an engine"),
    }
