"""Real cassettes of a real service: what is on disk, and what is played."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.recording import SECRETS, Project, Service, service

TESTS = """
S = json.loads(os.environ["SECRETS"])

@pytest.mark.vcr
def test_headers():
    ask("/json", Authorization="Bearer " + S["authorization"],
        X_Api_Key=S["api_key_header"], Cookie="sid=" + S["cookie"])

@pytest.mark.vcr
def test_address():
    ask(f"/json?password={S['query']}&sig={S['signature']}&page=2")

@pytest.mark.vcr
def test_json():
    body = json.dumps({"model": "m", "auth": {"password": S["json"]}}).encode()
    ask("/json", body, Content_Type="application/json")

@pytest.mark.vcr
def test_form():
    body = f"user=bob&password={S['form']}".encode()
    ask("/form", body, Content_Type="application/x-www-form-urlencoded")

@pytest.mark.vcr
def test_parts():
    body = ("--XX\\r\\nContent-Disposition: form-data; name=\\"password\\"\\r\\n\\r\\n"
            f"{S['part']}\\r\\n--XX--\\r\\n").encode()
    ask("/part", body, Content_Type="multipart/form-data; boundary=XX")

@pytest.mark.vcr
@pytest.mark.parametrize("path", ["gzip", "deflate", "event", "unknown", "echoed"])
def test_body(path):
    ask("/" + path)
"""


@pytest.fixture
def running() -> Iterator[Service]:
    with service() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, running: Service) -> Project:
    made = Project(tmp_path, running.address, TESTS)
    made.variables["SECRETS"] = json.dumps(SECRETS)
    made.variables["SERVICE_API_TOKEN"] = SECRETS["echoed"]
    return made


def leaked(data: bytes) -> list[str]:
    return [name for name, value in SECRETS.items() if value.encode() in data]


def test_no_byte_of_a_secret_is_recorded(project: Project, running: Service) -> None:
    done = project.pytest("--record-mode=once")

    assert done.returncode == 0, done.stdout
    assert len(running.asked) == 10
    assert project.recorded().count(b"interactions:") == 10
    assert leaked(project.recorded()) == []
    assert project.egressmon("scan", "cassettes").returncode == 0


def test_what_was_recorded_is_played(project: Project, running: Service) -> None:
    project.pytest("--record-mode=once")
    running.asked.clear()

    done = project.pytest("--record-mode=none", "--egress-cassettes")

    assert done.returncode == 0, done.stdout
    assert running.asked == []


# conftest.py sets no hooks at all: with the option, recordings are clean all the same.
def test_the_option_cleans_whatever_conftest_says(project: Project) -> None:
    (project.root / "conftest.py").write_text("")

    bare = project.pytest("--record-mode=once")
    assert bare.returncode == 0, bare.stdout
    assert leaked(project.recorded())
    done = project.pytest("--record-mode=rewrite", "--egress-cassettes")

    assert done.returncode == 0, done.stdout
    assert leaked(project.recorded()) == []
    played = project.pytest("--record-mode=none", "--egress-cassettes")
    assert played.returncode == 0, played.stdout


def test_a_body_that_cannot_be_decoded_is_not_recorded(project: Project) -> None:
    project.pytest("--record-mode=once", "-k", "unknown")

    assert b"this body was not recorded: its encoding is" in project.recorded()


def test_compressed_bodies_are_recorded_as_text(project: Project) -> None:
    project.pytest("--record-mode=once", "-k", "gzip or deflate")

    recorded = project.recorded()
    assert b"Content-Encoding" not in recorded
    assert recorded.count(b'{"data": [{"id": 1}], "client_secret": "***"}') == 2
