"""`--tls` of `egressmon baseline` and `egressmon drift`, with servers on loopback."""

import os
import re
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.test_cli import run
from support.reached import connection, look_up, package, run_of, write
from support.tls_servers import (
    DAY,
    NOW,
    Authority,
    Paper,
    context_of,
    serving,
    shaking,
)

AUTHORITY = Authority()
OTHER = Authority("Other Root")
REVIEW = ("--reviewed-by", "Ada", "--reason", "a new certificate")


class Place:
    """A folder with evidence, a policy, trusted roots, and a server that changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paper = AUTHORITY.paper()
        roots = [AUTHORITY.write_root(folder / "one"), OTHER.write_root(folder / "two")]
        (folder / "roots.pem").write_text("".join(one.read_text() for one in roots))
        records = [*connection(by=package("requests", "2.31.0")), *look_up("a.example")]
        write(folder / "run.jsonl", run_of(records))

    @contextmanager
    def served(self) -> Generator[str]:
        def answer(connected: socket.socket) -> None:
            shaking(context_of(self.paper, self.folder))(connected)

        with serving(answer) as port:
            (self.folder / "egress.toml").write_text(
                f"version = 1\n[[allow]]\nhost = 'localhost'\nports = [{port}]\n"
                "[[allow]]\nhost = '*.example.net'\n"
            )
            yield f"localhost:{port}"

    def write(self, *words: str) -> None:
        done = run(
            "baseline", "write", "run.jsonl", "-o", "baseline.toml", "--tls",
            "--policy", "egress.toml", "--ca-file", "roots.pem", *words,
            cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def drift(self, *words: str) -> tuple[int, str]:
        done = run(
            "drift", "baseline.toml", "run.jsonl", "--policy", "egress.toml", "--tls",
            "--ca-file", "roots.pem", *words,
            cwd=self.folder,
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_renewed_certificate_is_no_drift(place: Place) -> None:
    with place.served() as host:
        place.write()
        text = (place.folder / "baseline.toml").read_text()
        place.paper = AUTHORITY.paper(ends=NOW + 90 * DAY)
        status, output = place.drift()

    assert f'[tls."{host}"]' in text
    assert 'issuers = [\n  "CN=Test Root R1",\n  "CN=Test Root",\n]' in text
    assert "20" + "26-" not in text.partition("[tls.")[2]
    assert status == 0, output


def test_the_same_servers_make_the_same_file(place: Place) -> None:
    with place.served():
        place.write()
        first = (place.folder / "baseline.toml").read_bytes()
        place.write("--force")

    assert (place.folder / "baseline.toml").read_bytes() == first


@pytest.mark.parametrize(
    ("paper", "told"),
    [
        (OTHER.paper(), "issuers"),
        (AUTHORITY.paper(["localhost", "spy.example"]), "names"),
        (AUTHORITY.paper(["other.example"]), "wrong-name"),
        (AUTHORITY.paper(ends=NOW - DAY), "invalid"),
        (AUTHORITY.paper(ends=NOW + DAY), "expiring"),
        (AUTHORITY.self_signed(), "invalid"),
    ],
)
def test_what_changed_is_drift(place: Place, paper: Paper, told: str) -> None:
    with place.served() as host:
        place.write()
        place.paper = paper
        status, output = place.drift()

    assert status == 1, output
    assert re.search(rf"^drift +changed +tls +{host} {told}", output, re.MULTILINE)


def test_without_tls_nobody_is_asked(place: Place) -> None:
    with place.served():
        place.write()
    words = ("drift", "baseline.toml", "run.jsonl", "--policy", "egress.toml")

    done = run(*words, cwd=place.folder)

    assert done.returncode == 0, done.stdout


def test_a_host_that_does_not_answer_is_not_comparable(place: Place) -> None:
    with place.served() as host:
        place.write()
    status, output = place.drift("--format", "json")

    assert status == 2
    assert f"{host}: no handshake: " in output


def test_a_baseline_is_not_written_without_all_hosts(place: Place) -> None:
    with place.served() as host:
        pass
    done = run(
        "baseline", "write", "run.jsonl", "-o", "new.toml", "--tls", cwd=place.folder
    )

    assert done.returncode == 2
    assert f"{host}: no handshake: " in done.stderr
    assert "allow[1] *.example.net: a wildcard names no one host" in done.stderr
    assert not (place.folder / "new.toml").exists()


def test_an_update_takes_what_is_there_now(place: Place) -> None:
    with place.served():
        place.write()
        place.paper = OTHER.paper()
        done = run(
            "baseline", "update", "baseline.toml", *REVIEW, "--tls",
            "--ca-file", "roots.pem",
            cwd=place.folder,
        )  # fmt: skip
        status, output = place.drift()

    assert (done.returncode, done.stderr.count("not checked")) == (0, 1), done.stderr
    assert status == 0, output
    assert "Other Root" in (place.folder / "baseline.toml").read_text()


def test_a_policy_that_names_nobody_is_an_error(place: Place) -> None:
    (place.folder / "egress.toml").write_text("version = 1\n")

    done = run("baseline", "write", "run.jsonl", "--tls", cwd=place.folder)

    assert done.returncode == 2
    assert "allows no host by its name" in done.stderr
    assert done.stdout == ""


def test_hostile_names_reach_the_file_and_the_table_escaped(place: Place) -> None:
    hostile = [f"a{number}\x1b[2J\n::error::x" for number in range(200)]
    with place.served():
        place.write()
        place.paper = AUTHORITY.paper(["localhost", *hostile], subject="\u202e\n[x]")
        status, output = place.drift()
        place.write("--force")
        again, after = place.drift()

    text = (place.folder / "baseline.toml").read_text()
    assert (status, again) == (1, 0), after
    for one in (output, text):
        assert "\x1b" not in one
        assert "\u202e" not in one
        assert not re.search(r"^::", one, re.MULTILINE)
    assert "a7\\\\x1b[2J" in text
    assert os.access(place.folder / "baseline.toml", os.R_OK)
