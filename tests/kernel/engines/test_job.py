"""A CI job with a service container and a build: each connection where it belongs."""

import json
from collections.abc import Generator

import pytest

from support.engines.daemons import building, dockerd
from support.engines.room import Room
from support.engines.told import containers
from support.lab import SERVER4
from support.runners import github, runner
from support.sidecars import Json, Sidecar, sidecar

EACH = 10
KINDS = ("setup", "service", "tests", "build")
SERVES = (
    "for i in 0 1 2 3 4 5 6 7 8 9; do /connect {server} $(({first} + i)); done; "
    "exec /bin/sleep 600"
)
SETS_UP = "for i in $(seq 0 9); do (: >/dev/tcp/{server}/$(({first} + i))); done; true"


@pytest.fixture(scope="module", autouse=True)
def daemon(room: Room) -> Generator[None]:
    """Docker's daemon, in the module's room."""
    with dockerd(room):
        yield


def places(aside: Sidecar) -> dict[int, tuple[object, ...]]:
    """Return (origin, step, id and name of its container) of each, by its port."""
    known = containers(aside)
    found: dict[int, tuple[object, ...]] = {}
    for one in aside.reached(ip=SERVER4):
        if one["op"] != "connect":
            continue  # the kernel's own answers
        step: Json | None = one["process"]["step"]
        key: str | None = one["process"]["container"]
        found[one["dst"]["port"]] = (
            one["origin"],
            step["name"] if step is not None else None,
            known[key]["id"] if key is not None else None,
            known[key]["name"] if key is not None else None,
        )
    return found


def test_each_connection_is_at_its_step_and_in_its_container(room: Room) -> None:
    firsts = dict(zip(KINDS, range(24300, 24700, 100), strict=True))
    with sidecar() as one, runner(one.folder) as job:
        engine = f"docker={room.shared}/docker.sock"
        one.start_in(job, "--all", "--engine-socket", engine)

        def step(name: str, *words: str) -> None:
            done = job.step(name, *room.enter(*words))
            assert done.returncode == 0, done.stderr

        setup = SETS_UP.format(server=SERVER4, first=firsts["setup"])
        step("setup", "bash", "-c", f"{{ {setup}; }} 2>/dev/null")
        serves = SERVES.format(server=SERVER4, first=firsts["service"])
        begin = ["docker", "run", "-d", "--name=database"]
        step("services", *begin, "image", "/bin/sh", "-c", serves)
        told = [f"--env={name}" for name in github("tests")]
        given = [f"{name}={value}" for name, value in github("tests").items()]
        for number in range(EACH):
            port = str(firsts["tests"] + number)
            enter = ["docker", "exec", *told, "database", "/connect", SERVER4, port]
            step("tests", "env", *given, *enter)
        ports = range(firsts["build"], firsts["build"] + EACH)
        folder = building(room, "image", ports)
        step("build", "env", "DOCKER_BUILDKIT=0", "docker", "build", "-q", folder)
        one.stop()
        one.verified()
        found = places(one)
        text = json.dumps(one.records())

    database = found[firsts["tests"]][2]
    wanted = {
        **dict.fromkeys(_ports(firsts["setup"]), ("job", "setup", None, None)),
        **dict.fromkeys(
            _ports(firsts["service"]), ("container", None, database, "database")
        ),
        **dict.fromkeys(
            _ports(firsts["tests"]), ("container", "tests", database, "database")
        ),
    }
    built = {port: found.pop(port) for port in ports}
    assert {port: found.get(port) for port in wanted} == wanted  # others may be there
    assert database is not None
    # Each step of a build has a container, which may be gone before it can be named.
    assert {place[:2] for place in built.values()} == {("container", None)}
    assert len({place[2] for place in built.values()} - {None, database}) == EACH
    assert "not-to-be-kept" not in text


def _ports(first: int) -> range:
    return range(first, first + EACH)
