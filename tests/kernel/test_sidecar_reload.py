"""`egressmon sidecar reload`: another policy in a run that goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.verifying.result import Result, Wanted
from egressmon.verifying.walking.place import verify
from support.lab import Lab
from support.sidecars import Json, Sidecar, cgroup, inside, sidecar
from support.users import ALONE

DENY = 'version = 1\nenforce = "fail"\n'
ALLOW = f'{DENY}[[allow]]\ncidr = "10.213.7.2/32"\nports = [4042]\nreason = "it is"\n'
CONNECT = "import socket; socket.socket().connect_ex(('10.213.7.2', {}))"
HANG_UP = "import os, signal, time; os.kill({}, signal.SIGHUP); time.sleep(100)"


@pytest.fixture
def watched() -> Generator[Path]:
    with cgroup() as path:
        yield path


@pytest.fixture
def aside(watched: Path) -> Generator[Sidecar]:
    """One that watches a cgroup, by a policy that allows nothing."""
    with sidecar('enforce = "fail"\n') as one:
        policy = str(one.folder / "egress.toml")
        done = one.start("--cgroup", str(watched), "--policy", policy)
        assert done.returncode == 0, done.stderr
        yield one


def connect(lab: Lab, path: Path, port: int = 4042) -> None:
    words = inside(path, sys.executable, "-I", "-c", CONNECT.format(port))
    subprocess.run([*lab.enter(), *words], check=True)


def until_counted(one: Sidecar, verdict: str, count: int) -> None:
    """Wait until so many connections were judged."""
    while one.status()["connections"].get(verdict, 0) < count:
        pass


def write(one: Sidecar, text: str) -> None:
    (one.folder / "egress.toml").write_text(text)


def with_token(one: Sidecar) -> list[str]:
    return ["--token-file", str(one.folder / "token")]


def verified(one: Sidecar, *texts: str) -> Result:
    """Verify with a file of each policy."""
    paths: list[str] = []
    for number, text in enumerate(texts):
        path = one.folder / f"policy-{number}.toml"
        path.write_text(text)
        paths.append(str(path))
    return verify(one.started["evidence"], Wanted(policies=tuple(paths)))


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


@pytest.mark.smoke
def test_each_connection_is_judged_by_the_policy_of_its_time(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    for _ in range(3):  # the third comes from what is remembered
        connect(network, watched)
    until_counted(aside, "violation", 3)
    write(aside, ALLOW)
    reloaded = aside.ask("reload", *with_token(aside))
    for _ in range(3):
        connect(network, watched)
    until_counted(aside, "allowed", 3)
    status = aside.status()
    _, answer = aside.stop()

    assert (reloaded.returncode, reloaded.stderr) == (0, "")
    records = aside.records()
    start, end = records[0], records[-1]
    (policy,) = of(records, "policy")
    assert policy["before"] == start["policy_digest"]
    assert policy["policy_digest"] != start["policy_digest"]
    said = f"judged by the policy {policy['policy_digest']}, number 2\n"
    assert reloaded.stdout == said
    assert (policy["reason"], policy["uid"]) == ("with the token", 0)
    assert policy["connections"] == {"violation": 3}
    digests = [start["policy_digest"], policy["policy_digest"]]
    assert [one["policy_digest"] for one in end["policies"]] == digests
    assert [one["connections"] for one in end["policies"]] == [
        {"violation": 3},
        {"allowed": 3},
    ]
    assert status["policies"] == answer["policies"] == digests
    place = records.index(policy)
    for one in of(records, "connection"):
        wanted = "violation" if records.index(one) < place else "allowed"
        assert one["verdict"] == wanted
    result = verified(aside, DENY, ALLOW)
    assert (result.found, result.unreadable) == ([], [])
    assert result.files[0].judged >= 6


def test_verify_says_if_a_policy_is_not_there_or_the_counts_are_others(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    connect(network, watched)
    until_counted(aside, "violation", 1)
    write(aside, ALLOW)
    aside.ask("reload", *with_token(aside))
    connect(network, watched)
    until_counted(aside, "allowed", 1)
    aside.stop()

    (file,) = verified(aside, DENY).files
    digest = aside.records()[-1]["policies"][1]["policy_digest"]
    assert file.unjudged is not None
    assert digest in file.unjudged


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version = 1\nallow = 3\n", "allow"),
        ("version = 1\n[", "egress.toml"),
        ('version = 1\nenforce = "report"\n', "begin another run"),
    ],
)
def test_a_policy_that_cannot_be_used_changes_nothing(
    network: Lab, watched: Path, aside: Sidecar, text: str, why: str
) -> None:
    write(aside, text)
    refused = aside.ask("reload", *with_token(aside))
    connect(network, watched)
    _, answer = aside.stop()

    assert refused.returncode == 1
    assert why in refused.stderr
    records = aside.records()
    assert of(records, "policy") == []
    (tried,) = [one for one in of(records, "control") if one["verb"] == "reload"]
    assert not tried["allowed"]
    assert why in tried["reason"]
    assert answer["verdict"] == "violations"
    assert records[-1]["policies"] == []
    assert verified(aside, DENY).found == []


def test_a_file_that_somebody_else_owns_by_now_is_not_used(aside: Sidecar) -> None:
    path = aside.folder / "egress.toml"
    theirs = aside.folder / "theirs.toml"
    theirs.write_text(ALLOW)
    os.chown(theirs, ALONE, ALONE)
    path.unlink()
    path.symlink_to(theirs)

    refused = aside.ask("reload", *with_token(aside))
    _, answer = aside.stop()

    assert refused.returncode == 1
    assert "is owned by" in refused.stderr
    assert len(answer["policies"]) == 1


def test_a_file_that_is_gone_or_no_file_changes_nothing(aside: Sidecar) -> None:
    path = aside.folder / "egress.toml"
    path.unlink()
    gone = aside.ask("reload", *with_token(aside))
    os.mkfifo(path)
    pipe = aside.ask("reload", *with_token(aside))
    path.unlink()
    write(aside, DENY)
    same = aside.ask("reload", *with_token(aside))
    _, answer = aside.stop()

    assert (gone.returncode, pipe.returncode, same.returncode) == (1, 1, 0)
    assert "No such file" in gone.stderr
    assert "not a regular file" in pipe.stderr
    assert (answer["verdict"], answer["incomplete_reasons"]) == ("clean", [])


def test_root_in_what_is_watched_cannot_allow_itself_anything(
    watched: Path, aside: Sidecar
) -> None:
    write(aside, ALLOW)
    asked = aside.ask("reload", prefix=inside(watched))
    hangs_up = subprocess.Popen(
        inside(watched, sys.executable, "-I", "-c", HANG_UP.format(aside.keeper))
    )
    while not [one for one in attempts(aside) if one["pid"] == hangs_up.pid]:
        pass
    hangs_up.kill()
    hangs_up.wait()
    _, answer = aside.stop()

    assert asked.returncode == 1
    assert of(aside.records(), "policy") == []
    assert all(one["inside"] and not one["allowed"] for one in attempts(aside))
    assert answer["concluded"]


def attempts(one: Sidecar) -> list[Json]:
    """Return the reloads that were refused."""
    found = of(one.records(), "control")
    return [record for record in found if record["verb"] == "reload"]


def test_root_outside_reloads_by_a_signal(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    write(aside, ALLOW)
    os.kill(aside.keeper, signal.SIGHUP)
    while not of(aside.records(), "policy"):
        pass
    connect(network, watched)
    until_counted(aside, "allowed", 1)
    status, answer = aside.stop()

    (policy,) = of(aside.records(), "policy")
    assert (policy["pid"], policy["uid"]) == (os.getpid(), 0)
    assert policy["inside"] is False
    assert (status, answer["verdict"]) == (0, "clean")
    assert verified(aside, DENY, ALLOW).found == []
