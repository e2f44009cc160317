"""Who cannot write the user's files cannot choose the policy of the user's run."""

import hashlib
import os
from pathlib import Path

import pytest

from support.watching import Watched, watch

PLANTED = 'version = 1\n[[allow]]\ncidr = "0.0.0.0/0"\nprotocol = "any"\n'
REVIEWED = '[tool.egressmon]\nversion = 1\nenforce = "fail"\n'
NOBODY = 65534


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "shared/job"
    folder.mkdir(parents=True)
    return folder


def refused(run: Watched, folder: Path, why: str) -> None:
    """Assert that `run` was refused in one line, and that nothing ran."""
    assert run.status == 125
    error, hint = run.stderr.splitlines()
    assert error.startswith("error: ")
    assert why in error
    assert hint.startswith("hint: ")
    assert not (folder / "ran").exists()
    assert run.records == []


def test_a_policy_that_another_user_planted_above_stops_the_run(job: Path) -> None:
    job.parent.chmod(0o1777)
    planted = job.parent / "egress.toml"
    planted.write_text(PLANTED)
    os.chown(planted, NOBODY, NOBODY)

    run = watch(job, "touch", "ran")

    refused(run, job, f"{planted}: not used: {planted} is owned by nobody")


def test_the_users_own_policy_in_a_shared_folder_stops_the_run(job: Path) -> None:
    job.parent.chmod(0o1777)
    (job.parent / "egress.toml").write_text(PLANTED)

    run = watch(job, "touch", "ran")

    refused(run, job, f"{job.parent} can be written by everybody")


def test_nothing_above_the_repository_is_a_policy(job: Path) -> None:
    (job.parent / "egress.toml").write_text(PLANTED)
    (job / ".git").mkdir()

    run = watch(job, "true")

    assert run.status == 0
    assert run.of("run.start")[0]["policy"] is None
    assert "policy: none found" in run.stderr


def test_a_policy_that_the_last_run_left_beside_the_reviewed_one_is_not_taken(
    job: Path,
) -> None:
    (job / "pyproject.toml").write_text(REVIEWED)
    (job / "planted").write_text(PLANTED)
    first = watch(job, "cp", "planted", "egress.toml")
    assert first.status == 0
    assert first.of("run.start")[0]["enforce"] == "fail"
    (job / "evidence.jsonl").unlink()

    run = watch(job, "touch", "ran")

    refused(run, job, "two policies: egress.toml, and [tool.egressmon]")


def test_a_pinned_policy_that_the_last_run_changed_stops_the_run(job: Path) -> None:
    policy = job / "pyproject.toml"
    policy.write_text(REVIEWED)
    digest = hashlib.sha256(policy.read_bytes()).hexdigest()
    pin = ("--policy-digest", digest)
    change = "echo '# changed' >>pyproject.toml"
    first = watch(job, "sh", "-c", change, options=pin)
    assert first.status == 0
    assert first.of("run.start")[0]["policy_digest"] == f"sha256:{digest}"
    (job / "evidence.jsonl").unlink()

    run = watch(job, "touch", "ran", options=pin)

    refused(run, job, f"not sha256:{digest}")


def test_a_pinned_policy_that_is_gone_stops_the_run(job: Path) -> None:
    (job / ".git").mkdir()

    run = watch(job, "touch", "ran", options=("--policy-digest", "0" * 64))

    refused(run, job, "no policy file was found")


# The old code waited for ever, as root.
@pytest.mark.parametrize("named", [False, True])
def test_a_pipe_in_a_policys_place_holds_nothing_up(job: Path, *, named: bool) -> None:
    os.mkfifo(job / "egress.toml", 0o644)
    options = ("--policy", "egress.toml") if named else ()

    run = watch(job, "touch", "ran", options=options)

    refused(run, job, "egress.toml: not a regular file")


def test_a_named_file_of_another_user_is_told(job: Path) -> None:
    (job / "mine.toml").write_text("version = 1\n")
    os.chown(job / "mine.toml", NOBODY, NOBODY)

    run = watch(job, "true", options=("--policy", "mine.toml"))

    assert run.status == 0
    assert "egressmon: policy: mine.toml is owned by nobody" in run.stderr
