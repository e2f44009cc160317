"""The in-toto Statement has the fields of its predicate, and all digests."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from egressmon.cli.analysing.report import report
from egressmon.locking import write_lock


# A directory with some evidence, and no proof: there are no summaries of it.
@pytest.fixture
def some(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "some")
    for old, new in (("run-01", "first"), ("run-02", "second")):
        (tmp_path / "some" / old).rename(tmp_path / "some" / new)
    write_lock(str(tmp_path / "some"), policy="policy.toml")
    return tmp_path / "some"


def test_a_statement_of_a_directory_has_its_digests(
    some: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert report([str(some)], "in-toto") == 0
    made = json.loads(capfdbinary.readouterr().out)
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    kind = "https://in-toto.io/attestation/runtime-trace/v0.1"
    assert made["predicateType"] == kind
    names = ["evidence.lock", "first/evidence.jsonl", "second/evidence.jsonl"]
    assert [one["name"] for one in made["subject"]] == names
    for one in made["subject"]:
        data = (some / one["name"]).read_bytes()
        assert one["digest"]["sha256"] == hashlib.sha256(data).hexdigest()
    predicate = made["predicate"]
    assert set(predicate) == {
        "monitor", "monitoredProcess", "monitorLog", "metadata", "egressmon"
    }  # fmt: skip
    policy = hashlib.sha256((some / "policy.toml").read_bytes()).hexdigest()
    assert predicate["monitor"]["configSource"]["digest"] == {"sha256": policy}
    assert predicate["monitorLog"]["network"][0] == {
        "ip": "203.0.113.9", "hostname": "api.example.org", "port": 443,
        "protocol": "tcp", "invokingProcess": {"exe": "/bin/client"},
        "operation": "connect", "verdict": "allowed", "rule": "allow[0]", "count": 4,
    }  # fmt: skip
    assert predicate["monitorLog"]["process"][0]["arguments"] == ["client", "--all"]
    assert "first/client.log" in predicate["egressmon"]["lock"]["files"]


def test_of_what_does_not_verify_no_statement_is_made(
    original: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(original, tmp_path / "proof")
    (tmp_path / "proof" / "run-01" / "client.log").write_text("another\n")
    assert report([str(tmp_path / "proof")], "in-toto") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "no statement is made" in err
