"""`egressmon baseline` and `egressmon drift` as processes."""

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from support.reached import (
    OTHER_POLICY,
    connection,
    look_up,
    package,
    run_of,
    write,
)
from support.watching import EGRESSMON

REVIEW = ("--reviewed-by", "Ada", "--reason", "the new mirror")
EVIL = "\x1b[2J::error::##[error]x"


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EGRESSMON, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    records = [*connection(by=package("requests", "2.31.0")), *look_up("api.example")]
    return write(tmp_path / "old.jsonl", run_of(records))


@pytest.fixture
def later(tmp_path: Path) -> Path:
    records = [
        *connection(by=package("requests", "2.31.0")),
        *look_up("api.example"),
        *connection("spy.example", by=package("requests", "2.31.0")),
    ]
    return write(tmp_path / "new.jsonl", run_of(records, run="run-2", day=2))


@pytest.fixture
def baseline(tmp_path: Path, evidence: Path) -> Path:
    path = tmp_path / "baseline.toml"
    done = run("baseline", "write", evidence, "-o", path, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return path


def test_a_baseline_is_written_reviewed_and_compared(
    tmp_path: Path, evidence: Path, baseline: Path, later: Path
) -> None:
    printed = run("baseline", "write", evidence, cwd=tmp_path)
    assert printed.stdout == baseline.read_text()
    assert run("drift", baseline, evidence, cwd=tmp_path).returncode == 0

    changed = run("drift", baseline, later, cwd=tmp_path)
    assert changed.returncode == 1
    assert "new      destination  spy.example:443/tcp" in changed.stdout

    done = run("baseline", "update", baseline, later, *REVIEW, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    after = run("drift", baseline, later, cwd=tmp_path)
    assert (after.returncode, after.stdout) == (0, "no drift\n")
    assert 'by = "Ada"\nreason = "the new mirror"\n' in baseline.read_text()


@pytest.mark.parametrize("missing", [0, 2])
def test_an_update_without_a_review_is_refused(
    tmp_path: Path, baseline: Path, later: Path, missing: int
) -> None:
    before = baseline.read_text()
    review = [*REVIEW[:missing], *REVIEW[missing + 2 :]]

    done = run("baseline", "update", baseline, later, *review, cwd=tmp_path)

    assert done.returncode == 2
    assert f"{REVIEW[missing]} " in done.stderr
    assert baseline.read_text() == before


def test_an_empty_reason_is_none(tmp_path: Path, baseline: Path, later: Path) -> None:
    review = ("--reviewed-by", "Ada", "--reason", " ")

    done = run("baseline", "update", baseline, later, *review, cwd=tmp_path)

    assert done.returncode == 2


def test_a_review_is_one_line_whatever_it_says(
    tmp_path: Path, baseline: Path, later: Path
) -> None:
    review = ("--reviewed-by", EVIL, "--reason", 'it"s\n[[review]]')

    done = run("baseline", "update", baseline, later, *review, cwd=tmp_path)

    assert done.returncode == 0
    assert baseline.read_text().count("\n[[review]]\n") == 1
    assert run("drift", baseline, later, cwd=tmp_path).returncode == 0


def test_an_edited_baseline_is_told_until_it_is_reviewed(
    tmp_path: Path, baseline: Path, later: Path
) -> None:
    added = '\n[[destination]]\nname = "spy.example"\nport = 443\nprotocol = "tcp"\n'
    baseline.write_text(baseline.read_text() + added)

    edited = run("drift", baseline, later, cwd=tmp_path)
    assert edited.returncode == 1
    assert "edited since it was written" in edited.stdout

    done = run("baseline", "update", baseline, *REVIEW, cwd=tmp_path)
    assert done.returncode == 0
    assert "edited" not in run("drift", baseline, later, cwd=tmp_path).stdout


def test_what_is_gone_can_be_kept(
    tmp_path: Path, evidence: Path, baseline: Path, later: Path
) -> None:
    run("baseline", "update", baseline, later, *REVIEW, cwd=tmp_path)
    words = ("--keep-gone", *REVIEW)
    kept = run("baseline", "update", baseline, evidence, *words, cwd=tmp_path)

    assert kept.returncode == 0
    assert "spy.example" in baseline.read_text()
    run("baseline", "update", baseline, evidence, *REVIEW, cwd=tmp_path)
    assert "spy.example" not in baseline.read_text()


def test_a_link_is_not_replaced(tmp_path: Path, baseline: Path, later: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(baseline.name)
    before = baseline.read_text()

    done = run("baseline", "update", link, later, *REVIEW, cwd=tmp_path)

    assert done.returncode == 2
    assert f"name the file itself: {baseline}" in done.stderr
    assert link.is_symlink()
    assert baseline.read_text() == before


def test_of_two_updates_at_once_none_takes_back_the_other(
    tmp_path: Path, baseline: Path, later: Path
) -> None:
    before = baseline.read_text()
    with baseline.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = run("baseline", "update", baseline, later, *REVIEW, cwd=tmp_path)
    done = run("baseline", "update", baseline, later, *REVIEW, cwd=tmp_path)

    assert refused.returncode == 2
    assert "is being updated by another process" in refused.stderr
    assert done.returncode == 0
    assert baseline.read_text() != before


def test_tls_tables_are_kept_by_an_update(
    tmp_path: Path, baseline: Path, later: Path
) -> None:
    text = '\n[tls."api.example.org:443"]\nissuers = ["CN=Test"]\n'
    baseline.write_text(baseline.read_text() + text)

    run("baseline", "update", baseline, later, *REVIEW, cwd=tmp_path)

    assert text in baseline.read_text()


def test_the_policy_says_what_counts(
    tmp_path: Path, baseline: Path, later: Path
) -> None:
    policy = tmp_path / "egress.toml"
    policy.write_text('version = 1\n[drift]\ndestination = "note"\n')

    assert run("drift", baseline, later, cwd=tmp_path).returncode == 0
    policy.unlink()
    assert run("drift", baseline, later, cwd=tmp_path).returncode == 1
    policy.write_text('version = 1\n[drift]\ndestination = "loud"\n')
    wrong = run("drift", baseline, later, "--policy", policy, cwd=tmp_path)
    assert wrong.returncode == 2
    assert 'write destination = "ignore", "note" or "drift"' in wrong.stderr


@pytest.mark.parametrize("form", ["table", "json", "markdown", "github"])
def test_incomplete_evidence_is_not_comparable(
    tmp_path: Path, baseline: Path, form: str
) -> None:
    end = {"complete": False, "incomplete_reasons": [EVIL]}
    path = write(tmp_path / "e.jsonl", run_of(connection(EVIL), end=end))

    done = run("drift", baseline, path, "--format", form, cwd=tmp_path)

    assert done.returncode == 2
    assert "not comparable: run run-1: it is incomplete" in done.stderr
    told = (done.stdout + done.stderr).splitlines()
    assert all(line.isprintable() for line in told)
    assert not any("##[" in line for line in told)
    if form == "json":
        assert json.loads(done.stdout)["comparable"] is False


def test_no_baseline_is_made_of_what_is_not_whole(tmp_path: Path) -> None:
    runs = {
        "an empty run": run_of(),
        "it has no end": run_of(connection(), has_end=False),
        "two policies": run_of(
            connection(), [{"type": "policy", "policy_digest": OTHER_POLICY}]
        ),
    }
    for why, records in runs.items():
        path = write(tmp_path / "e.jsonl", records)
        done = run("baseline", "write", path, "-o", "b.toml", cwd=tmp_path)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "b.toml").exists()
    path = write(tmp_path / "e.jsonl", run_of())
    empty = run("baseline", "write", path, "--empty", "-o", "b.toml", cwd=tmp_path)
    assert empty.returncode == 0


def test_a_file_that_is_there_is_not_replaced(
    tmp_path: Path, evidence: Path, baseline: Path
) -> None:
    words = ("baseline", "write", evidence, "-o", baseline)

    refused = run(*words, cwd=tmp_path)

    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert run(*words, "--force", cwd=tmp_path).returncode == 0


def test_a_newer_baseline_is_refused(
    tmp_path: Path, baseline: Path, later: Path
) -> None:
    text = baseline.read_text().replace("version = 1", "version = 7")
    baseline.write_text(text)

    done = run("drift", baseline, later, cwd=tmp_path)

    assert done.returncode == 2
    assert "is a baseline of version 7" in done.stderr


def test_it_needs_no_rights(tmp_path: Path, baseline: Path, later: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("all tests are without rights here")
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):  # noqa: S108
            path.chmod(0o755)

    done = subprocess.run(
        [*words, *EGRESSMON, "drift", baseline, later],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 1, done.stderr


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_a_report_that_could_not_be_written_is_not_whole(
    tmp_path: Path, evidence: Path, baseline: Path, form: str
) -> None:
    words = map(str, ("drift", baseline, evidence, "--format", form))

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*EGRESSMON, *words],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    assert done.returncode == 2
    assert "standard output cannot be written" in done.stderr
