"""`egressmon verify` as a process: what it prints, its statuses, what it needs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from egressmon import files
from egressmon.locking import write_lock
from support.recorded import proof as make_proof
from support.replaying import ProcessesGone
from support.segments import MANIFEST, record_segments, segments
from support.watching import EGRESSMON

_LIMIT = 200 << 20


def run(
    *words: str, cwd: Path | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *EGRESSMON, *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.fixture
def proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "_opener", ProcessesGone())
    return make_proof(tmp_path / "proof")


def test_a_directory_verifies_with_a_line_for_each_file(proof: Path) -> None:
    for old, new in (("run-01", "first"), ("run-02", "second")):
        (proof / old).rename(proof / new)  # it has no summaries: it is no proof
    write_lock(str(proof), policy="policy.toml")

    done = run("verify", str(proof))

    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{proof}/first/evidence.jsonl: as recorded; run replay")
    assert lines[1].endswith(": 4 verdicts judged again, with this result")
    assert done.stderr == ""


def test_a_finding_names_file_line_and_byte(proof: Path) -> None:
    path = proof / "run-02" / "evidence.jsonl"
    data = path.read_bytes()
    place = data.index(b'"port":443')
    path.write_bytes(data.replace(b'"port":443', b'"port":444', 1))

    done = run("verify", str(path), "--format", "json")

    found = json.loads(done.stdout)
    assert done.returncode == found["status"] == 1
    first = found["findings"][0]
    number = data.count(b"\n", 0, place) + 1
    assert (first["kind"], first["line"]) == ("chain", number + 1)
    assert run("verify", str(path)).stdout.startswith(f"{path}:{number + 1}: chain: ")


@pytest.mark.parametrize(
    "words",
    [
        ["verify"],
        ["verify", ""],
        ["verify", "/none"],
        ["verify", "/dev/zero"],
        ["verify", "/dev/null", "--policy", "/none"],
        ["verify", ".", "--anchor", "/none"],
        ["verify", ".", "--sigstore-identity", "me"],
        ["verify", ".", "--format", "xml"],
    ],
)
def test_what_cannot_be_read_is_one_error_with_a_hint(
    words: list[str], tmp_path: Path
) -> None:
    done = run(*words, cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_file_does_not_hide_another(proof: Path) -> None:
    good = proof / "run-01" / "evidence.jsonl"
    done = run("verify", "/none", str(good))

    assert done.returncode == 2
    assert f"{good}: as recorded" in done.stdout


def test_the_policy_may_be_somewhere_else(proof: Path, tmp_path: Path) -> None:
    path = proof / "run-01" / "evidence.jsonl"
    (proof / "policy.toml").rename(tmp_path / "reviewed.toml")
    without = run("verify", str(path))
    named = run("verify", str(path), "--policy", str(tmp_path / "reviewed.toml"))
    (tmp_path / "other.toml").write_text("version = 1\n")
    other = run("verify", str(path), "--policy", str(tmp_path / "other.toml"))

    assert without.returncode == 0
    assert "verdicts were not judged again: the policy is not here" in without.stdout
    assert "4 verdicts judged again" in named.stdout
    assert other.returncode == 1
    assert "it is the policy of no run here" in other.stdout


# The bytes of a file are not a terminal's commands.
def test_what_is_printed_of_a_file_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "e\x1b[31m.jsonl"
    path.write_bytes(b'{"schema":"egressmon/2","type":"\x1b[31m::error::x"}\n')

    done = run("verify", str(path))

    assert "\x1b" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_a_line_of_5_gb_takes_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_bytes(b'{"schema":"egressmon/2",')
    os.truncate(path, 5 * 1000**3)

    done = run("verify", str(path), prefix=("prlimit", f"--data={_LIMIT}"))

    assert done.returncode == 1, done.stderr
    assert "it is no record" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_needs_no_rights(proof: Path) -> None:
    code = (
        "import os, sys; os.setgid(65534); os.setuid(65534)\n"
        "from egressmon.cli.main import main\n"
        "raise SystemExit(main())"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "evidence")
        shutil.copytree(proof / "run-01", place / "first")
        for path in (Path(folder), place, *place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        words = [sys.executable, "-c", code, "verify", str(place)]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        place.chmod(0o700)
        words = [sys.executable, "-c", code, "verify", str(place / "first")]
        closed = subprocess.run(words, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr + done.stdout
    assert closed.returncode == 2
    assert "Permission denied" in closed.stderr
    assert "Traceback" not in closed.stderr


@pytest.fixture
def segmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "_opener", ProcessesGone())
    folder = tmp_path / "run"
    folder.mkdir()
    record_segments(folder)
    return folder


def test_a_run_in_segments_is_one_line(segmented: Path) -> None:
    paths = [str(path) for path in segments(segmented)]
    for words in ([str(segmented)], paths):
        done = run("verify", *words)
        assert done.returncode == 0, done.stdout
        said = done.stdout.splitlines()[0]
        assert said.startswith(f"{paths[0]} (and {len(paths)} more): as recorded; run")

    done = run("verify", paths[1], "--format", "json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [one["kind"] for one in found["findings"]] == ["part"]
    assert [one["part"] for one in found["files"]] == [True]
    assert "a part, as recorded" in run("verify", paths[1]).stdout


def test_segments_are_reported_one_after_the_other(segmented: Path) -> None:
    paths = [str(path) for path in segments(segmented)]
    done = run("report", "--format", "json", *paths)

    assert (done.returncode, done.stderr) == (0, "")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["seq"] for one in records] == list(range(len(records)))
    made = [one for one in records if one["type"] == "connection"]
    assert {one["process"]["exe"] for one in made} == {made[0]["process"]["exe"]}
    assert all("ancestry" in one["process"] for one in made)


def test_a_statement_of_segments_has_all_of_them(segmented: Path) -> None:
    names = [path.name for path in segments(segmented)]
    for words in ([str(segmented)], [str(path) for path in segments(segmented)]):
        done = run("report", "--format", "in-toto", *words)
        assert done.returncode == 0, done.stderr
        statement = json.loads(done.stdout)
        subjects = [one["name"] for one in statement["subject"]]
        assert subjects == [*names, MANIFEST]
        (told,) = statement["predicate"]["egressmon"]["runs"]
        assert told["verdict"] == "violations"
        network = statement["predicate"]["monitorLog"]["network"]
        assert sum(one["count"] for one in network) == 9
