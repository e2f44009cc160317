"""A status is the verdict's, or the command's, whatever becomes of what is printed."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from support.watching import EGRESSMON, ENGINE, read_evidence

pytestmark = pytest.mark.userspace

NO_READER = "2> >(exec true)"


def shell(folder: Path, words: list[str], redirected: str) -> int:
    line = f"{shlex.join([*EGRESSMON, *words])} {redirected}"
    done = subprocess.run(
        ["bash", "-c", line], check=False, cwd=folder, capture_output=True
    )
    return done.returncode


def watch(
    folder: Path, *command: str, redirected: str = "", verb: str = "watch"
) -> int:
    options = ["--engine", ENGINE, "--evidence", "e.jsonl"]
    return shell(folder, [verb, *options, "--", *command], redirected)


@pytest.mark.parametrize(
    "redirected",
    ["2>/dev/full", "1>/dev/full", NO_READER, ">/dev/full 2>&1", "2>&1 2</dev/null"],
)
@pytest.mark.parametrize("verb", ["watch", "learn"])
def test_what_cannot_be_printed_changes_no_status(
    tmp_path: Path, verb: str, redirected: str
) -> None:
    status = watch(tmp_path, "sh", "-c", "exit 7", redirected=redirected, verb=verb)

    end = read_evidence(tmp_path / "e.jsonl")[-1]
    assert end["verdict"] == "clean"
    assert status == end["exit_status"] == 7


# A pipe that nobody has open at its other end: opening it the usual way waits for ever.
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("watch", "--evidence", "pipe"), 121),
        (("watch", "--policy", "pipe"), 125),
        (("learn", "--evidence", "pipe"), 121),
        (("learn", "--force", "--output", "pipe"), 125),
        (("watch", "--ready-file", "pipe"), 7),
        (("policy", "check", "pipe"), 2),
        (("install", "pipe"), 2),
    ],
)
def test_a_pipe_in_a_files_place_holds_nothing_up(
    tmp_path: Path, words: tuple[str, ...], status: int
) -> None:
    os.mkfifo(tmp_path / "pipe")
    runs = ["--engine", ENGINE, "--", "sh", "-c", "exit 7"]

    given = [*words, *(runs if words[0] in {"watch", "learn"} else [])]

    assert shell(tmp_path, given, "") == status


@pytest.mark.parametrize(
    "closed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
)
def test_closed_streams_are_the_commands_closed_streams(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    # Without a glob or a pipe, which would open what is looked at.
    looks = "; ".join(
        f"if [ -e /proc/$$/fd/{number} ]; then echo {number} >&9; fi"
        for number in range(3)
    )
    redirected = "9>open " + " ".join(
        f"{number}{'<' if not number else '>'}&-" for number in closed
    )

    status = watch(tmp_path, "sh", "-c", looks, redirected=redirected)

    end = read_evidence(tmp_path / "e.jsonl")[-1]
    assert (status, end["verdict"]) == (0, "clean")
    found = set(map(int, (tmp_path / "open").read_text().split()))
    assert found == {0, 1, 2} - set(closed)


def test_evidence_for_a_closed_standard_output_is_missed(tmp_path: Path) -> None:
    words = ["watch", "--engine", ENGINE, "--evidence", "-", "--", "true"]

    assert shell(tmp_path, words, ">&-") == 121


def test_an_empty_name_is_no_command(tmp_path: Path) -> None:
    assert watch(tmp_path, "") == 127


@pytest.mark.parametrize("name", ["./script", "script"])
def test_a_script_without_an_interpreter_is_the_shells(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = tmp_path / "script"
    script.write_text('echo "$0 $*" >said; exit 9\n')
    script.chmod(0o755)

    status = watch(tmp_path, name, "a", "b c")

    assert status == 9
    assert (tmp_path / "said").read_text().endswith("/script a b c\n")
    assert read_evidence(tmp_path / "e.jsonl")[-1]["verdict"] == "clean"


def test_an_ended_attacher_is_a_doubt(tmp_path: Path) -> None:
    # egressmon's oldest child is the process that attaches probes.
    kill = (
        "set -- $(cat /proc/$PPID/task/$PPID/children); kill -9 $1; "
        "while kill -0 $1 && ! grep -q ') Z ' /proc/$1/stat; do :; done"
    )

    status = watch(tmp_path, "sh", "-c", kill)

    end = read_evidence(tmp_path / "e.jsonl")[-1]
    assert (status, end["verdict"]) == (121, "incomplete")
    (reason,) = end["incomplete_reasons"]
    assert "who creates tasks was ended" in reason


@pytest.mark.parametrize("verb", ["watch", "learn"])
@pytest.mark.parametrize("how", ["same", "hard", "symbolic", "found"])
def test_evidence_is_not_written_over_the_policy(
    tmp_path: Path, verb: str, how: str
) -> None:
    policy, other = tmp_path / "egress.toml", tmp_path / "other"
    policy.write_text("version = 1\n")
    if how == "hard":
        other.hardlink_to(policy)
    elif how == "symbolic":
        other.symlink_to(policy)
    evidence = str(other if other.exists() else policy)
    named = ["--policy", str(policy)] if how != "found" else []
    if verb == "learn":
        named = ["--force", "--output", str(policy)]

    words = [verb, *named, "--evidence", evidence, "--", "touch", "ran"]
    status = shell(tmp_path, words, "")

    assert status == 125
    assert policy.read_text() == "version = 1\n"
    assert not (tmp_path / "ran").exists()


def test_evidence_and_a_policy_to_learn_need_two_names(tmp_path: Path) -> None:
    words = ["learn", "--output", "x", "--evidence", "./x", "--", "touch", "ran"]

    assert shell(tmp_path, words, "") == 125
    assert not any(tmp_path.iterdir())


# As where the command stops the reader of `--evidence >(…)`, which has the same user.
def test_a_reader_of_the_evidence_that_was_stopped_does_not_hold_the_run_up(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    many = "for i in $(seq 300); do /bin/true; done; exit 7"
    options = ["--engine", ENGINE, "--evidence", "pipe", "--catch-up", "300ms"]

    status = shell(tmp_path, ["watch", *options, "--", "sh", "-c", many], "2>said")

    os.close(reader)
    assert status == 121
    said = (tmp_path / "said").read_text()
    assert "evidence NOT written: pipe: its reader takes nothing" in said
