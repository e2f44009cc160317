"""docker: what is run, entered, built and published."""

from collections.abc import Callable, Generator

import pytest

from support.engines.daemons import building, dockerd
from support.engines.page import Row
from support.engines.room import Room
from support.engines.told import (
    asked_by,
    containers,
    looked_up,
    origins,
    other_resolver,
    report,
    seen,
    told,
)
from support.lab import OTHER_PORT, SERVER4
from support.sidecars import Sidecar

ENGINE = "docker.io"
INNER = """
cgroup=/sys/fs/cgroup
mkdir $cgroup/inner
while read -r pid; do echo $pid >$cgroup/inner/cgroup.procs; done <$cgroup/cgroup.procs
export DOCKER_HOST=unix:///run/docker.sock
dockerd --data-root=/store/docker --exec-root=/run/dk --bip=172.31.0.1/16 \
    -H $DOCKER_HOST >/shared/inner.log 2>&1 &
until docker version >/dev/null 2>&1; do kill -0 $!; done
docker import /shared/image.tar image
for port; do docker run --rm image /connect 10.213.7.2 $port; done
"""


@pytest.fixture(scope="module", autouse=True)
def daemon(room: Room) -> Generator[None]:
    """Docker's daemon, in the module's room."""
    with dockerd(room):
        yield


def each(ports: range, command: str) -> list[str]:
    """Return the words that run `command` for each `$port`."""
    return [
        "sh",
        "-euc",
        f"for port in {' '.join(map(str, ports))}; do {command}; done",
    ]


def test_programs_that_end_at_once(room: Room, aside: Sidecar) -> None:
    ports = range(4200, 4225)
    room.do(*each(ports, f"docker run --rm image /connect {SERVER4} $port"))
    aside.stop()

    row = Row(ENGINE, "`docker run --rm`, ends at once", len(ports))
    who = seen(aside, told(aside, ports), row)
    assert {one["engine"] for one in who} == {"docker"}
    assert len({one["id"] for one in who}) == len(ports)
    assert {one["image"] for one in who if one["confirmed"]} == {"image"}
    assert all(one["name"] for one in who if one["confirmed"])


def test_those_that_are_chosen_by_name_or_label(
    room: Room, begin: Callable[..., Sidecar]
) -> None:
    aside = begin("--container", "web", "--container", "label=tier=job")
    named, labelled, others = range(4300, 4310), range(4310, 4320), range(4320, 4330)
    for ports, option in ((named, "--name=web"), (labelled, "--label=tier=job")):
        run = f"docker run --rm {option} image /connect {SERVER4} $port"
        room.do(*each(ports, run))
    room.do(*each(others, f"docker run --rm --name=db image /connect {SERVER4} $port"))
    aside.stop()

    chosen = [*named, *labelled]
    how = "`docker run --rm`, `sidecar --container NAME` and `label=`"
    who = seen(aside, told(aside, chosen), Row(ENGINE, how, len(chosen)))
    assert {one["watched"] for one in who} <= {"yes", "doubt"}
    # Who is gone before the engine answers is watched, with the reason.
    watched = {one["process"]["container"] for one in told(aside, others)}
    known = containers(aside)
    assert {known[one]["watched"] for one in watched} <= {"doubt"}
    last = aside.records()[-1]
    assert last["choice"]["unmatched"] == []
    assert len(watched) + last["choice"]["connections"]["other"] >= len(others)


def test_who_enters_a_container(room: Room, aside: Sidecar) -> None:
    ports = range(4230, 4240)
    room.do("docker", "run", "-d", "--name=entered", "image", "/bin/sleep", "600")
    room.do(*each(ports, f"docker exec entered /connect {SERVER4} $port"))
    aside.stop()
    room.do("docker", "rm", "-f", "entered")

    who = seen(aside, told(aside, ports), Row(ENGINE, "`docker exec`", len(ports)))
    assert [(one["name"], one["image"], one["confirmed"]) for one in who] == [
        ("entered", "image", True)
    ] * len(ports)


def test_a_name_in_a_network_of_the_users(room: Room, aside: Sidecar) -> None:
    room.do("docker", "network", "create", "lab")
    fetch = ["/bin/busybox", "wget", "-qO-", "http://four.example.test/"]
    assert room.do("docker", "run", "--rm", "--network=lab", "image", *fetch) == "hello"
    aside.stop()

    found = told(aside, [80], "/bin/busybox")
    assert looked_up(found) == ["four.example.test"]
    how = "`docker run --network NET`, by a name (127.0.0.11)"
    seen(aside, found, Row(ENGINE, how, 1, name="yes"))


def test_a_name_from_a_server_that_was_chosen_is_not_known(
    room: Room, aside: Sidecar
) -> None:
    with other_resolver(room.network) as other:
        room.do("docker", "network", "create", "chosen")
        fetch = ["/bin/busybox", "wget", "-qO-", "http://four.example.test/"]
        run = ["docker", "run", "--rm", "--network=chosen", f"--dns={other}", "image"]
        assert room.do(*run, *fetch) == "hello"
    aside.stop()

    assert looked_up(told(aside, [80], "/bin/busybox")) == []
    assert other in " ".join(asked_by(aside, "/bin/busybox"))


def test_what_the_engine_itself_reaches(room: Room, aside: Sidecar) -> None:
    pulled = room.run("docker", "pull", f"{SERVER4}:{OTHER_PORT}/image")
    aside.stop()

    assert pulled.status != 0  # there is no registry
    reached = aside.reached(ip=SERVER4, port=OTHER_PORT)
    found = [one for one in reached if one["op"] == "connect"]
    assert {one["process"]["exe"] for one in found} == {"/usr/sbin/dockerd"}
    how = "`docker pull`, by the daemon"
    report(Row(ENGINE, how, 1, 1, origin=origins(found), notes="the engine's own"))


@pytest.mark.parametrize("builder", ["0", "1"])
def test_the_steps_of_a_build(room: Room, aside: Sidecar, builder: str) -> None:
    ports = range(4240, 4245) if builder == "0" else range(4250, 4255)
    folder = building(room, "image", ports)
    words = ["env", f"DOCKER_BUILDKIT={builder}", "docker", "build", "-q", folder]
    room.do(*words)
    aside.stop()

    how = "`docker build`, " + ("legacy builder" if builder == "0" else "buildkit")
    seen(aside, told(aside, ports), Row(ENGINE, how, len(ports)))


def test_a_published_port_is_reached_by_way_of_the_proxy(
    room: Room, aside: Sidecar
) -> None:
    serve = "while :; do echo hi | nc -l -p 8080; done"
    published = ["--name=published", "--publish=127.0.0.1:8080:8080"]
    room.do("docker", "run", "-d", *published, "image", "/bin/sh", "-c", serve)
    ask = "until busybox nc 127.0.0.1 8080 </dev/null | grep hi; do :; done"
    room.do("sh", "-euc", ask)
    aside.stop()
    room.do("docker", "rm", "-f", "published")

    made = [one for one in aside.verified() if one["type"] == "connection"]
    asked = [one for one in made if one["dst"]["ip"] == "127.0.0.1"]
    assert "local" in {one["verdict"] for one in asked if one["dst"]["port"] == 8080}
    passed = [
        one
        for one in made
        if one["dst"]["port"] == 8080 and one["dst"]["ip"].startswith("172.")
    ]
    assert {one["process"]["exe"] for one in passed} == {"/usr/sbin/docker-proxy"}
    how = "published port, by `docker-proxy`"
    report(Row(ENGINE, how, 1, 1, origin=origins(passed), notes="the engine's own"))


def test_docker_in_docker(room: Room, aside: Sidecar) -> None:
    ports = range(4260, 4265)
    (room.shared / "inner.sh").write_text(INNER)
    places = ["--volume=/usr:/usr:ro", "--volume=/etc:/etc", "--volume=/shared:/shared"]
    for place in ("/run:exec", "/store:exec", "/var", "/tmp:exec", "/root"):  # noqa: S108 -- the container's
        places += ["--tmpfs", place]
    script = ["/bin/bash", "-eu", "/shared/inner.sh", *map(str, ports)]
    room.do("docker", "run", "--rm", "--privileged", *places, "skeleton", *script)
    aside.stop()

    who = seen(aside, told(aside, ports), Row(ENGINE, "docker in docker", len(ports)))
    outer = {one["outer"] for one in who}
    assert len(outer) == 1
    assert None not in outer
