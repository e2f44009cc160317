"""nightly.sh, with a program in egressmon's place: what it makes of what goes wrong."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs/examples/nightly"
KEY = "stand-in-key-0123456789-abcdef"

# Runs the command and is "found" what FOUND says; its status is the command's.
MONITOR = """#!/bin/sh
case $1 in
watch)
    evidence=$5
    shift 6
    echo evidence >"$evidence"
    child=
    told=
    trap 'told=1; [ -z "$child" ] || kill -TERM "$child"' TERM
    "$@" 3<&3 &
    child=$!
    [ -z "$told" ] || kill -TERM "$child"
    wait "$child"
    status=$?
    [ -z "$told" ] || { wait "$child"; exit 143; }
    exit $status
    ;;
baseline) echo proposed >"$5" ;;
drift)
    echo "what differs"
    exit "${DRIFTED-0}"
    ;;
esac
"""


class Night:
    """A project with the example, and a monitor that only plays one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder.parent / "key"
        self.key.write_text(KEY + "\n")
        monitor = folder.parent / "egressmon"
        monitor.write_text(MONITOR)
        monitor.chmod(0o755)
        for name in ("egress.toml", "baseline.toml"):
            (folder / name).write_text("version = 1\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "EGRESSMON": str(monitor),
            "KEY_FILE": str(self.key),
        }

    def words(self, *call: str) -> list[str]:
        return ["sh", str(SCRIPT / "nightly.sh"), *(call or ("true",))]

    def run(self, *call: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run_words(*self.words(*call), **environment)

    def run_words(
        self, *words: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.folder,
            env={**self.environment, **environment},
        )


@pytest.fixture
def night(tmp_path: Path) -> Night:
    folder = tmp_path / "project"
    folder.mkdir()
    return Night(folder)


def test_of_a_call_that_failed_no_baseline_is_proposed(night: Night) -> None:
    (night.folder / "baseline.toml").unlink()

    done = night.run("sh", "-c", "exit 7")

    assert done.returncode == 2
    assert "did not go well (status 7)" in done.stderr
    assert not (night.folder / "nightly-out/baseline.toml").exists()


def test_a_violation_of_the_first_night_is_one(night: Night) -> None:
    (night.folder / "baseline.toml").unlink()

    done = night.run("sh", "-c", "exit 120")

    assert done.returncode == 120
    assert "there is no baseline" in done.stderr


def test_where_cdpath_is_set_it_finds_what_is_beside_it(night: Night) -> None:
    (night.folder / "nightly").symlink_to(SCRIPT)
    words = ("sh", "nightly/nightly.sh", "true")

    done = night.run_words(*words, CDPATH=".:/tmp", NOTE="note.md")

    assert done.returncode == 0, done.stderr
    assert "what differs" in (night.folder / "note.md").read_text()


def test_a_key_that_is_given_as_the_files_name_is_not_printed(night: Night) -> None:
    done = night.run(KEY_FILE=KEY)

    assert done.returncode == 2
    assert "KEY_FILE" in done.stderr
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_CUSTOM_HEADERS",
        "OPENAI_ADMIN_KEY",
        "OPENAI_CUSTOM_HEADERS",
        "AZURE_OPENAI_API_KEY",
    ],
)
def test_every_variable_of_a_key_is_refused(night: Night, name: str) -> None:
    done = night.run(**{name: KEY})

    assert done.returncode == 2
    assert f"{name} is in the environment" in done.stderr


@pytest.mark.parametrize("limit", ["0", "00", "inf", "1d", "-5", "1\n2", "9" * 10])
def test_a_limit_that_is_none_is_refused(night: Night, limit: str) -> None:
    done = night.run(LIMIT_S=limit)

    assert done.returncode == 2
    assert "LIMIT_S" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_script_alone_ends_all_of_it(
    night: Night, number: signal.Signals
) -> None:
    pid_file = night.folder / "pid"
    call = (
        "sh",
        "-c",
        f"echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 100",
    )
    process = subprocess.Popen(
        night.words(*call),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=night.folder,
        env=night.environment,
    )
    while not pid_file.exists():
        time.sleep(0.01)
    pid = int(pid_file.read_text())

    process.send_signal(number)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "it was stopped" in said
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    # The folder is published by `if: always()`; the evidence was not looked through.
    assert not [*(night.folder / "nightly-out").iterdir()]


def test_while_the_call_runs_nothing_is_in_the_published_folder(night: Night) -> None:
    done = night.run("sh", "-c", "ls nightly-out")

    assert done.returncode == 0, done.stderr
    assert "evidence.jsonl" not in done.stdout
    assert (night.folder / "nightly-out/evidence.jsonl").exists()


def test_a_secret_is_kept_out_of_a_folder_that_is_named_with_a_slash(
    night: Night,
) -> None:
    monitor = Path(night.environment["EGRESSMON"])
    monitor.write_text(MONITOR.replace("esac", "scan) exit 1 ;;\nesac"))

    done = night.run(OUT="out/")

    assert done.returncode == 2
    assert not [*(night.folder / "out").iterdir()]
    assert (night.folder / "out.secret.jsonl").exists()


@pytest.mark.parametrize("name", ["NOTE", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize(
    ("called", "drifted", "status"), [(0, 0, 2), (120, 1, 120), (0, 1, 1)]
)
def test_what_cannot_be_told_elsewhere_hides_nothing(
    night: Night, name: str, called: int, drifted: int, status: int
) -> None:
    given = {name: str(night.folder), "DRIFTED": str(drifted), "FAIL_ON_DRIFT": "1"}

    done = night.run("sh", "-c", f"exit {called}", **given)

    assert done.returncode == status, done.stderr
    assert "not " in done.stderr


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_report_that_cannot_be_written_is_no_quiet_night(
    night: Night, shell: str
) -> None:
    words = [shell, *night.words("mkdir", "nightly-out/drift.md")[1:]]

    assert night.run_words(*words).returncode == 2


def test_incomplete_evidence_is_said_to_be_that(night: Night) -> None:
    done = night.run("sh", "-c", "exit 121")

    assert done.returncode == 2
    assert "the evidence is incomplete" in done.stderr


@pytest.mark.parametrize("name", ["OUT", "POLICY", "BASELINE", "NOTE"])
def test_a_path_that_begins_with_a_dash_is_a_path(night: Night, name: str) -> None:
    for one in ("egress.toml", "baseline.toml"):
        (night.folder / "-x").write_text((night.folder / one).read_text())
    if name in {"OUT", "NOTE"}:
        (night.folder / "-x").unlink()

    for out in ("first", "second") if name == "NOTE" else ("first",):
        done = night.run(**{"OUT": out, name: "-x"})
        assert done.returncode == 0, done.stderr

    assert (night.folder / "-x").exists()
