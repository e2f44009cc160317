"""`egressmon scan` as a process: what it prints in each form, and its status."""

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from integration.test_cli import run
from support.secrets import filled
from support.watching import EGRESSMON

KEY = filled("ghp_{w36}", random.Random(4))  # noqa: S311 -- a test's
FORMS = ("text", "json", "sarif", "github")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "a.yaml").write_text(f"one\nkey: {KEY}\n")
    (tmp_path / "clean.log").write_text("nothing\n")
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_told_and_never_printed(folder: Path, form: str) -> None:
    done = run("scan", "--format", form, ".", cwd=folder)

    assert done.returncode == 1, done.stderr
    assert "github-token" in done.stdout
    assert KEY[4:] not in done.stdout + done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_a_name_is_told_and_never_printed(
    tmp_path: Path, form: str
) -> None:
    (tmp_path / f"test_x[{KEY}].yaml").touch()

    done = run("scan", "--format", form, ".", f"gone-{KEY}", cwd=tmp_path)

    assert done.returncode == 2
    assert "github-token" in done.stdout
    assert KEY[4:] not in done.stdout + done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_clean_files_are_fine(folder: Path, form: str) -> None:
    done = run("scan", "--format", form, "clean.log", cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")


def test_json_has_what_was_found_and_searched(folder: Path) -> None:
    found = json.loads(run("scan", "--format", "json", ".", cwd=folder).stdout)

    (one,) = found["findings"]
    assert (one["path"], one["line"], one["column"]) == ("./cassettes/a.yaml", 2, 6)
    assert (found["files"], found["unsearched"], found["allowed"]) == (2, [], 0)


def test_sarif_names_place_and_rule(folder: Path) -> None:
    (found,) = json.loads(run("scan", "--format", "sarif", ".", cwd=folder).stdout)[
        "runs"
    ]

    (result,) = found["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "cassettes/a.yaml"
    assert place["region"]["startLine"] == 2
    assert result["ruleId"] in {rule["id"] for rule in found["tool"]["driver"]["rules"]}
    assert found["invocations"][0]["executionSuccessful"]


def test_github_gets_an_annotation_at_the_line(folder: Path) -> None:
    done = run("scan", "--format", "github", ".", cwd=folder)

    assert done.stdout.startswith("::error file=cassettes/a.yaml,line=2,title=")


def test_what_is_allowed_with_a_reason_is_no_finding(folder: Path) -> None:
    found = json.loads(run("scan", "--format", "json", ".", cwd=folder).stdout)
    digest = found["findings"][0]["digest"]
    (folder / ".egressmon-scan.toml").write_text(
        f'version = 1\n[[allow]]\ndigest = "{digest}"\nreason = "an example"\n'
        f'[[allow]]\ndigest = "{"0" * 32}"\nreason = "gone"\n'
    )

    done = run("scan", ".", cwd=folder)

    assert done.returncode == 0
    assert "0 found, 1 allowed in 3 files" in done.stdout
    assert f"allowed, but not found any more: {'0' * 32}" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_read_is_named_and_outranks_findings(
    folder: Path, form: str
) -> None:
    done = run("scan", "--format", form, ".", "gone", cwd=folder)

    assert done.returncode == 2
    assert "gone" in done.stdout
    assert "github-token" in done.stdout


def test_links_are_named_on_standard_error_and_change_nothing(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")

    done = run("scan", "clean.log", "link", cwd=folder)
    assert done.returncode == 2
    done = run("scan", ".", cwd=folder)
    assert done.returncode == 1
    assert "./link: a symbolic link is not followed" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_names_of_files_cannot_command_a_terminal_or_a_ci_system(
    folder: Path, form: str
) -> None:
    for name in (
        "a\x1b[31m",
        "b\n::stop-commands::x",
        "c\u202e",
        "d::error::%0A",
        "##[e",
    ):
        (folder / name).write_text(KEY)
    (folder / os.fsdecode(b"e\xff")).write_text(KEY)

    done = run("scan", "--format", form, ".", cwd=folder)

    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "\n::stop" not in done.stdout
    assert "##[" not in done.stdout
    if form in {"json", "sarif"}:
        json.loads(done.stdout)


def test_a_file_of_what_is_allowed_must_be_right(folder: Path) -> None:
    (folder / ".egressmon-scan.toml").write_text("version = 1\nall = true\n")

    done = run("scan", ".", cwd=folder)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith(
        "error: .egressmon-scan.toml: unknown"
    )


def test_nothing_that_only_a_run_needs_is_imported(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['egressmon', 'scan', 'clean.log']\n"
        "from egressmon.cli.main import main; main()\n"
        "heavy = {'pydantic', 'rich', 'idna', 'bcc', 'pyroute2'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    command = [EGRESSMON[0], "-I", "-c", code]

    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=folder
    )

    assert done.stdout.splitlines()[-1] == "[]"
