"""A sidecar says of each process in which container it is, and who that is."""

import secrets
import subprocess
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from egressmon.sensor.scope import find_root
from support import container_engines as engines
from support.lab import Lab, lab
from support.sidecars import Sidecar, cgroup, inside, sidecar
from support.waiting import until

Json = dict[str, Any]
# Of this test alone: others may run on the machine meanwhile.
PORT = 20000 + secrets.randbelow(10000)
# As an engine does it: a cgroup of that name, and a first process in namespaces.
SHORT = (
    "import os, socket, sys\n"
    "root = sys.argv[1]\n"
    "for name in sys.stdin.read().split():\n"
    "    path = os.path.join(root, name)\n"
    "    os.mkdir(path)\n"
    "    pid = os.fork()\n"
    "    if not pid:\n"
    "        open(path + '/cgroup.procs', 'w').write('0')\n"
    f"        socket.socket().connect_ex(('10.213.7.2', {PORT}))\n"
    "        os._exit(0)\n"
    "    os.waitpid(pid, 0)\n"
    "    os.rmdir(path)\n"
)
CONNECT = f"import socket; socket.socket().connect_ex(('10.213.7.2', {PORT}))"


@pytest.fixture
def network() -> Generator[Lab]:
    """A network of the test's own."""
    with lab() as one:
        yield one


@pytest.fixture
def aside() -> Generator[Sidecar]:
    """A sidecar that only reports."""
    with sidecar('enforce = "report"\n') as one:
        yield one


@pytest.fixture
def parent() -> Generator[Path]:
    """A cgroup in which a test has its containers."""
    with cgroup() as path:
        yield path


def begin(one: Sidecar, *options: str) -> Path:
    """Start it, with an engine's socket of the test's own; return the socket's path."""
    path = one.folder / "docker.sock"
    policy = ["--policy", str(one.folder / "egress.toml")]
    where = ["--engine-socket", f"docker={path}", "--attribution", "process"]
    done = one.start("--all", *where, *policy, *options)
    assert done.returncode == 0, done.stderr
    return path


def short_containers(network: Lab, parent: Path, ids: list[str]) -> None:
    """Let one process connect from a new cgroup of each of `ids`, one by one."""
    words = [*network.enter(), sys.executable, "-I", "-c", SHORT, str(parent)]
    subprocess.run(words, input=" ".join(ids), text=True, check=True)


def until_told(one: Sidecar, *texts: str) -> None:
    """Wait until all of `texts` are in its evidence, which is read back at the end."""

    def untold() -> list[str]:
        written = b"".join(path.read_bytes() for path in one.segments()).decode()
        return [text for text in texts if text not in written]

    until(lambda: not untold(), lambda: f"not told: {untold()}")


def containers(one: Sidecar) -> dict[str, Json]:
    """Return what was said last of each container, by its id."""
    found = [each for each in one.records() if each["type"] == "container"]
    return {each["id"]: each for each in found}


def actors(one: Sidecar) -> dict[str, Json]:
    """Return the processes that connections refer to, by their digests."""
    return {each["digest"]: each for each in one.records() if each["type"] == "actor"}


def test_each_of_a_hundred_short_containers_is_named(
    network: Lab, aside: Sidecar, parent: Path
) -> None:
    ids = [secrets.token_hex(32) for _ in range(100)]
    socket = aside.folder / "docker.sock"
    with engines.engine(socket) as asked:
        begin(aside)
        short_containers(network, parent, ids)
        until_told(aside, *(f'"name":"named-{one[:6]}"' for one in ids))
        aside.stop()

    told = containers(aside)
    assert {one for one in ids if told[one]["name"] == f"named-{one[:6]}"} == set(ids)
    assert all(told[one]["confirmed"] and not told[one]["reason"] for one in ids)
    assert sorted(asked) == sorted(ids)
    who = actors(aside)
    reached = aside.reached(ip="10.213.7.2", port=PORT)
    keys = {who[one["process"]["digest"]]["container"] for one in reached}
    assert keys == {told[one]["key"] for one in ids}
    aside.verified()


def test_what_is_there_before_has_its_container_and_its_pid_in_it(
    network: Lab, aside: Sidecar, parent: Path
) -> None:
    identifier = secrets.token_hex(32)
    place = parent / identifier
    place.mkdir()
    words = [sys.executable, "-I", "-c", f"input(); {CONNECT}"]
    contained = inside(place, "unshare", "--pid", "--fork", *words)
    waiting = subprocess.Popen(
        [*network.enter(), *contained], stdin=subprocess.PIPE, text=True
    )
    with engines.engine(aside.folder / "docker.sock"):
        begin(aside)
        waiting.communicate("\n")
        until_told(aside, f'"name":"named-{identifier[:6]}"')
        aside.stop()

    (reached,) = aside.reached(ip="10.213.7.2", port=PORT)
    actor = actors(aside)[reached["process"]["digest"]]
    assert actor["pid_inside"] == 1 != actor["pid"]
    assert actor["container"] == containers(aside)[identifier]["key"]
    assert containers(aside)[identifier]["cgroup"].endswith(f"/{identifier}")


def test_a_name_that_another_user_gave_is_a_claim(
    network: Lab, aside: Sidecar, parent: Path
) -> None:
    identifier = secrets.token_hex(32)
    place = parent / "delegated"
    place.mkdir()
    for file in (place, place / "cgroup.procs", parent / "cgroup.procs"):
        file.chmod(0o777)
    victim = place / f"docker-{identifier}.scope"
    with engines.engine(aside.folder / "docker.sock"):
        begin(aside)
        forge = f"import os; os.setresuid(65534, 65534, 65534); os.mkdir('{victim}')"
        subprocess.run([sys.executable, "-I", "-c", forge], check=True)
        words = inside(victim, sys.executable, "-I", "-c", CONNECT)
        subprocess.run([*network.enter(), *words], check=True)
        until_told(aside, f'"name":"named-{identifier[:6]}"')
        aside.stop()

    told = containers(aside)[identifier]
    assert told["confirmed"] is False
    assert told["made_by"] == 65534
    assert "user 65534 made its cgroup" in told["reason"]


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (engines.never, "did not answer"),
        (engines.endless, "too long"),
        (engines.unknown, "knows no such container"),
        (engines.senseless, "no HTTP response"),
        (None, "no engine is there"),
    ],
)
def test_without_an_answer_the_container_is_a_claim_with_the_reason(
    network: Lab,
    aside: Sidecar,
    parent: Path,
    serve: engines.Serve | None,
    reason: str,
) -> None:
    identifier = secrets.token_hex(32)
    socket = aside.folder / "docker.sock"
    none: list[str] = []
    is_there: AbstractContextManager[list[str]] = nullcontext(none)
    if serve is not None:
        is_there = engines.engine(socket, serve)
    with is_there as asked:
        begin(aside)
        short_containers(network, parent, [identifier])
        until_told(aside, reason)
        status, _ = aside.stop()

    assert set(asked) == ({identifier} if serve is not None else set())
    told = containers(aside)[identifier]
    assert (told["confirmed"], told["name"]) == (False, None)
    assert reason in told["reason"]
    assert status == 0
    aside.verified()


def test_what_no_path_tells_of_is_a_container_by_its_pid_namespace(
    network: Lab, aside: Sidecar, parent: Path
) -> None:
    begin(aside)
    words = inside(parent, "unshare", "--pid", "--fork", sys.executable, "-I", "-c")
    subprocess.run([*network.enter(), *words, CONNECT], check=True)
    aside.stop()

    (reached,) = aside.reached(ip="10.213.7.2", port=PORT)
    key = actors(aside)[reached["process"]["digest"]]["container"]
    (told,) = [one for one in containers(aside).values() if one["key"] == key]
    assert told["engine"] == "cgroup"
    assert find_root() / told["cgroup"].lstrip("/") == parent
