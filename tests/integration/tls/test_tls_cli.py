"""`egressmon tls` as a process: what it prints in each form, and its status."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_cli import run
from support.tls_servers import DAY, NOW, Authority, context_of, serving, shaking
from support.watching import EGRESSMON

AUTHORITY = Authority()
FORMS = ("table", "json", "markdown", "github")
ESCAPE = "\x1b[31m"
HOSTILE = [
    f"a{number}{ESCAPE}\r\n::error::owned ##vso[x] | `b` \u202e.example"
    if number % 2
    else f"{number}.example"
    for number in range(200)
]


@pytest.fixture
def ca(tmp_path: Path) -> str:
    return str(AUTHORITY.write_root(tmp_path / "root.pem"))


@pytest.fixture
def good(tmp_path: Path) -> Iterator[str]:
    with serving(shaking(context_of(AUTHORITY.paper(), tmp_path))) as port:
        yield f"localhost:{port}"


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "expired").mkdir()
    paper = AUTHORITY.paper(ends=NOW - DAY)
    with serving(shaking(context_of(paper, tmp_path / "expired"))) as port:
        yield f"localhost:{port}"


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "hostile").mkdir()
    names = [one.encode("ascii", "replace").decode() for one in HOSTILE]
    paper = AUTHORITY.paper(names, subject="\u202e::error::\n##vso[x]`|")
    with serving(shaking(context_of(paper, tmp_path / "hostile"))) as port:
        yield f"localhost:{port}"


def test_a_good_server_is_fine(good: str, ca: str) -> None:
    done = run("tls", "--ca-file", ca, good)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{good} (")
    assert lines[1].startswith("    protocol  TLSv1.3, ")
    assert lines[2] == "    names     localhost"
    assert lines[3] == "    issuers   CN=Test Root R1 < CN=Test Root"
    assert lines[-1] == f"1 host, 0 findings; trusted: {ca}"


@pytest.mark.parametrize("form", FORMS)
def test_a_finding_is_told_in_each_form(
    good: str, expired: str, ca: str, form: str
) -> None:
    done = run("tls", "--format", form, "--ca-file", ca, good, expired)

    assert done.returncode == 1, done.stderr
    assert "the certificate: expired" in done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_nothing_that_a_server_chose_gets_out_unescaped(
    hostile: str, ca: str, form: str
) -> None:
    done = run("tls", "--format", form, "--ca-file", ca, hostile)

    assert done.returncode == 1
    printed = done.stdout + done.stderr
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "##vso[" not in printed
    beginnings = {
        line.split("::")[1].split()[0]
        for line in printed.splitlines()
        if line.startswith("::")
    }
    assert beginnings <= ({"warning"} if form == "github" else set[str]())
    assert len(done.stdout) < (100_000 if form == "json" else 5_000)


def test_json_has_all(hostile: str, expired: str, ca: str) -> None:
    done = run(
        "tls", "--format", "json", "--ca-file", ca, hostile, expired, "x.invalid:1"
    )

    found = json.loads(done.stdout)
    first, second, third = found["hosts"]
    assert done.returncode == 2
    assert not found["complete"]
    assert len(first["chain"][0]["names"]) == 200
    assert [one["kind"] for one in first["findings"]] == ["wrong-name"]
    assert second["valid"] is False
    assert second["chain"][0]["not_after"] == (NOW - DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert third["unknown"].startswith("the name has no address")
    assert third["chain"] == []


def test_of_a_policy_the_exact_names_are_asked(
    good: str, ca: str, tmp_path: Path
) -> None:
    port = good.partition(":")[2]
    (tmp_path / "egress.toml").write_text(
        f"version = 1\n[[allow]]\nhost = 'localhost'\nports = [{port}]\n"
        "[[allow]]\nhost = '*.example.org'\n"
    )

    done = run(
        "tls", "--policy", "egress.toml", "--allowed", "--ca-file", ca, cwd=tmp_path
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "allow[1] *.example.org: not checked: a wildcard names no one host" in (
        done.stdout
    )


def test_a_policy_without_one_exact_name_is_not_fine(ca: str, tmp_path: Path) -> None:
    (tmp_path / "egress.toml").write_text(
        "version = 1\n[[allow]]\nhost = '*.example.org'\n"
    )

    done = run(
        "tls", "--policy", "egress.toml", "--allowed", "--ca-file", ca, cwd=tmp_path
    )

    assert done.returncode == 2
    assert "0 hosts" in done.stdout
    assert "not checked: a wildcard names no one host" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--allowed"],
        ["--policy", "egress.toml"],
        ["--policy", "egress.toml", "localhost:1"],
        ["--policy", "gone.toml", "--allowed"],
        ["--policy", "egress.toml", "--allowed"],  # which allows none
        ["localhost"],
        ["localhost:443", "--ca-file", "gone.pem"],
        ["localhost:443", "--ca-file", "egress.toml"],
        ["localhost:443", "--connect-timeout", "0s"],
        ["localhost:443", "--handshake-timeout", "2h"],
        ["localhost:443", "--expires-within", "-1"],
        ["localhost:443", "--expires-within", "9999999999999999999"],
        ["localhost:443", "--format", "xml"],
    ],
)
def test_wrong_usage_is_2_with_a_hint(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "egress.toml").write_text("version = 1\n")

    done = run("tls", *words, cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "\nhint: " in done.stderr
    assert done.stdout == ""


def test_a_proxy_is_not_used_and_that_is_said(good: str, ca: str) -> None:
    done = subprocess.run(
        [*EGRESSMON, "tls", "--ca-file", ca, good],
        env=os.environ | {"HTTPS_PROXY": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert done.stderr == (
        "egressmon: tls: HTTPS_PROXY is not used: this connects directly\n"
    )


def test_what_a_server_sends_is_not_read_by_root(ca: str) -> None:
    uids: list[list[str]] = []

    def answer(connected: socket.socket) -> None:
        connected.recv(1024)
        status = Path(f"/proc/{running.pid}/status").read_text()
        uids.append(status.partition("\nUid:")[2].partition("\n")[0].split())

    with serving(answer) as port:
        running = subprocess.Popen(
            [*EGRESSMON, "tls", "--ca-file", ca, f"127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        output, _ = running.communicate()

    assert running.returncode == 2
    assert "1 host, 0 findings, 1 not known" in output
    assert "0" not in uids[0]
