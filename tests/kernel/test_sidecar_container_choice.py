"""A sidecar for some containers records what these do, and nothing of the others."""

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support import container_engines as engines
from support.sidecars import Sidecar, cgroup, inside, sidecar
from support.waiting import until

Json = dict[str, Any]
# Of this test alone: others may run on the machine meanwhile.
BASE = 20000 + secrets.randbelow(10000)
CONNECT = "import socket; socket.socket().connect_ex(('198.51.100.9', {port}))"
# From its container into the cgroup `{place}`, from which a child connects.
LEAVE = (
    "import os, subprocess, sys\n"
    "open('{place}/cgroup.procs', 'w').write('0')\n"
    "subprocess.run([sys.executable, '-I', '-c', \"{connect}\"])\n"
)


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


def identifier() -> str:
    """Return an id as engines give it."""
    return secrets.token_hex(32)


def begin(one: Sidecar, *wanted: str) -> subprocess.CompletedProcess[str]:
    """Start it for the containers `wanted`, with an engine of the test's own."""
    options = [word for each in wanted for word in ("--container", each)]
    where = f"docker={one.folder / 'docker.sock'}"
    policy = ["--policy", str(one.folder / "egress.toml"), "--attribution", "process"]
    done = one.start(*options, "--engine-socket", where, *policy)
    assert done.returncode == 0, done.stderr
    return done


def serve(
    names: dict[str, str], labels: dict[str, Json] | None = None
) -> engines.Serve:
    """Return an engine that knows containers by their ids."""

    def answer(connection: socket.socket, asked: str) -> None:
        if asked not in names:
            engines.unknown(connection, asked)
            return
        config = {"Image": "app:1", "Labels": (labels or {}).get(asked, {})}
        said = engines.inspected(asked, names[asked], Config=config)
        connection.sendall(engines.response(json.dumps(said).encode()))

    return answer


def contained(place: Path, *words: str) -> None:
    """Run `words` in a network of their own, in the container's cgroup `place`."""
    place.mkdir(exist_ok=True)
    subprocess.run(inside(place, "unshare", "--net", *words), check=True)


def connect(place: Path, port: int) -> None:
    """Let the container whose cgroup is `place` begin a connection, and end."""
    contained(place, sys.executable, "-I", "-c", CONNECT.format(port=port))


def ports(one: Sidecar) -> set[int]:
    """Return which of the test's ports the records have connections to."""
    found = one.reached(ip="198.51.100.9")
    return {each["dst"]["port"] - BASE for each in found} & set(range(100))


def containers(one: Sidecar) -> dict[str, Json]:
    """Return what was said last of each container, by its id."""
    found = [each for each in one.records() if each["type"] == "container"]
    return {each["id"]: each for each in found}


def end(one: Sidecar) -> Json:
    """Return the last record of its evidence, in which nothing is wrong."""
    return one.verified()[-1]


def told(one: Sidecar, text: str) -> bool:
    """Tell whether its evidence has `text` by now."""
    return any(text.encode() in path.read_bytes() for path in one.segments())


def test_by_name_from_the_first_instruction_and_again_after_a_restart(
    aside: Sidecar, parent: Path
) -> None:
    ids = [identifier() for _ in range(40)]
    names = {one: "web" if n % 2 else f"other-{n}" for n, one in enumerate(ids)}
    with engines.engine(aside.folder / "docker.sock", serve(names)):
        done = begin(aside, "web")
        assert "no container matches --container web yet" in done.stderr
        for number, one in enumerate(ids):
            connect(parent / f"docker-{one}.scope", BASE + number)
        connect(parent, BASE + 90)  # of no container
        until(lambda: not aside.status()["containers"]["open"])
        status, answer = aside.stop()

    assert ports(aside) == {n for n in range(40) if n % 2}
    found = containers(aside)
    assert [found[one]["watched"] for one in ids] == ["no", "yes"] * 20
    last = end(aside)
    assert (last["choice"]["wanted"], last["choice"]["unmatched"]) == (["web"], [])
    assert last["choice"]["connections"]["other"] >= 20
    assert last["choice"]["connections"]["outside"] >= 1
    assert (status, answer["incomplete_reasons"]) == (0, [])
    (start,) = [one for one in aside.records() if one["type"] == "run.start"]
    assert start["scope"] == "containers: web"
    assert "chosen-containers" in {one["name"] for one in start["blind_spots"]}


def test_several_by_label_and_by_the_first_digits_of_an_id(
    aside: Sidecar, parent: Path
) -> None:
    ids = [identifier() for _ in range(5)]
    labels: dict[str, Json] = {
        ids[0]: {"role": "job"},
        ids[1]: {"role": "job", "more": "x"},
        ids[2]: {"role": "jobless"},
        ids[3]: {"traced": ""},
    }
    names = {one: f"name-{n}" for n, one in enumerate([*ids, identifier()])}
    with engines.engine(aside.folder / "docker.sock", serve(names, labels)):
        begin(aside, "label=role=job", "label=traced", ids[4][:12])
        for number, one in enumerate(names):
            connect(parent / f"docker-{one}.scope", BASE + number)
        until(lambda: not aside.status()["containers"]["open"])
        aside.stop()

    assert ports(aside) == {0, 1, 3, 4}
    assert end(aside)["choice"]["unmatched"] == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (engines.unknown, "knows no such container"),
        (engines.never, "did not answer"),
        (engines.senseless, "no HTTP response"),
        (None, "no engine is there"),
    ],
)
def test_what_is_not_known_is_watched(
    aside: Sidecar, parent: Path, answer: engines.Serve | None, reason: str
) -> None:
    one = identifier()
    path = aside.folder / "docker.sock"
    with engines.engine(path, answer or engines.unknown):
        begin(aside, "web")
        if answer is None:
            path.rename(aside.folder / "gone")
        connect(parent / f"docker-{one}.scope", BASE + 1)
        until(lambda: told(aside, reason))
        if answer is None:
            (aside.folder / "gone").rename(path)
        status, stopped = aside.stop()

    assert ports(aside) == {1}
    found = containers(aside)[one]
    assert found["watched"] == "doubt"
    assert reason in found["watched_reason"]
    assert status == 121
    # Other tests may reach engines of their own meanwhile.
    assert "no container matched --container web" in stopped["incomplete_reasons"]
    assert end(aside)["choice"]["unmatched"] == ["web"]


def test_nobody_leaves_by_another_cgroup_or_its_name(
    aside: Sidecar, parent: Path
) -> None:
    web, other = identifier(), identifier()
    outside = parent / "outside"
    forged = parent / "forged" / f"docker-{other}.scope"
    nested = parent / f"docker-{web}.scope" / f"docker-{other}.scope"
    with engines.engine(aside.folder / "docker.sock", serve({web: "web", other: "db"})):
        begin(aside, "web")
        connect(parent / f"docker-{other}.scope", BASE)
        for number, place in enumerate((outside, forged, nested), 1):
            (parent / f"docker-{web}.scope").mkdir(exist_ok=True)
            place.mkdir(parents=True)
            code = LEAVE.format(place=place, connect=CONNECT.format(port=BASE + number))
            contained(parent / f"docker-{web}.scope", sys.executable, "-I", "-c", code)
        until(lambda: not aside.status()["containers"]["open"])
        aside.stop()

    assert ports(aside) == {1, 2, 3}
    end(aside)


def test_a_cgroup_that_another_user_named_is_no_reason_to_leave_it_out(
    aside: Sidecar, parent: Path
) -> None:
    other = identifier()
    delegated = parent / "delegated"
    delegated.mkdir()
    for file in (delegated, delegated / "cgroup.procs", parent / "cgroup.procs"):
        file.chmod(0o777)
    forged = delegated / f"docker-{other}.scope"
    forge = f"import os; os.setresuid(65534, 65534, 65534); os.mkdir('{forged}')"
    with engines.engine(aside.folder / "docker.sock", serve({other: "db"})):
        begin(aside, "web")
        subprocess.run([sys.executable, "-I", "-c", forge], check=True)
        connect(forged, BASE + 1)
        until(lambda: told(aside, '"watched":"doubt"'))
        aside.stop()

    assert ports(aside) == {1}
    assert "user 65534 made its cgroup" in containers(aside)[other]["watched_reason"]


def test_what_is_there_before_is_watched_and_who_shares_its_network(
    aside: Sidecar, parent: Path
) -> None:
    web, proxy = identifier(), identifier()
    place, beside = parent / f"docker-{web}.scope", parent / f"docker-{proxy}.scope"
    place.mkdir()
    beside.mkdir()
    outside = parent / "outside"
    outside.mkdir()
    first = CONNECT.format(port=BASE + 1)
    last = LEAVE.format(place=outside, connect=CONNECT.format(port=BASE + 3))
    code = f"input(); {first}; print(flush=True); input()\n{last}"
    there = subprocess.Popen(
        inside(place, "unshare", "--net", sys.executable, "-I", "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    names = {web: "web", proxy: "proxy"}
    with engines.engine(aside.folder / "docker.sock", serve(names)):
        done = begin(aside, "web", "proxy-of-none")
        assert "--container web yet" not in done.stderr
        assert there.stdin is not None
        assert there.stdout is not None
        there.stdin.write("\n")
        there.stdin.flush()
        there.stdout.readline()
        enter = ["nsenter", f"--net=/proc/{there.pid}/ns/net"]
        second = CONNECT.format(port=BASE + 2)
        words = inside(beside, *enter, sys.executable, "-I", "-c", second)
        subprocess.run(words, check=True)
        connect(beside, BASE + 4)  # in a network of its own
        there.communicate("\n")
        until(lambda: not aside.status()["containers"]["open"])
        aside.stop()

    assert ports(aside) == {1, 2, 3}
    assert end(aside)["choice"]["unmatched"] == ["proxy-of-none"]


def test_what_is_watched_may_mark_and_not_reload(aside: Sidecar, parent: Path) -> None:
    web, other = identifier(), identifier()
    names = {web: "web", other: "db"}
    with engines.engine(aside.folder / "docker.sock", serve(names)):
        begin(aside, "web")
        for one in names:
            connect(parent / f"docker-{one}.scope", BASE + 1)
        until(lambda: not aside.status()["containers"]["open"])
        assert aside.status()["containers"]["yes"] == 1
        within, beside = (inside(parent / f"docker-{one}.scope") for one in names)
        assert aside.ask("mark", "build", prefix=within).returncode == 0
        assert aside.ask("reload", prefix=within).returncode == 1
        assert aside.ask("reload", prefix=beside).returncode == 0
        status, _ = aside.stop()

    assert status == 0
    found = [one for one in aside.verified() if one["type"] == "control"]
    told = [(one["verb"], one["allowed"], one["inside"]) for one in found]
    assert told[:2] == [("mark", True, True), ("reload", False, True)]
    assert told[-1] == ("stop", True, False)


# Beside it, it reaches itself.
REACH = """
import socket, subprocess, sys
socket.socket(socket.AF_UNIX).connect({launcher!r})
own = socket.socket(socket.AF_UNIX)
own.bind({own!r})
own.listen()
again = "import socket; socket.socket(socket.AF_UNIX).connect({own!r})"
subprocess.run([sys.executable, "-I", "-c", again], check=True)
"""


def test_a_container_that_reaches_an_engine_is_told_of(
    aside: Sidecar, parent: Path
) -> None:
    web = identifier()
    path, own = str(aside.folder / "podman.sock"), str(aside.folder / "own.sock")
    code = REACH.format(launcher=path, own=own)
    listener = socket.socket(socket.AF_UNIX)
    with listener, engines.engine(aside.folder / "docker.sock", serve({web: "web"})):
        listener.bind(path)
        listener.listen()
        begin(aside, "web")
        words = (sys.executable, "-I", "-c", code)
        contained(parent / f"docker-{web}.scope", *words)
        until(lambda: not aside.status()["containers"]["open"])
        status, answer = aside.stop()

    found = [one for one in aside.verified() if one["type"] == "escape"]
    assert [(one["what"], one["path"]) for one in found] == [("launcher", path)]
    assert status == 121
    assert "what was started through it is not watched" in str(answer)
