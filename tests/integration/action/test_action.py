"""The GitHub Action forwards, keeps the token, and is never green in error."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support.runner import FileError, Job, entries
from support.stand_in import HEAD, RUN, TOKEN, StandIn, ended, started

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def node() -> None:
    """Fail where the set-up could not install node: scripts/setup.sh lists it."""
    assert shutil.which("node"), "scripts/test sets node up"


@pytest.fixture
def egressmon(tmp_path: Path) -> Generator[StandIn]:
    made = StandIn(tmp_path / "installed")
    yield made
    made.end()


def job(egressmon: StandIn, tmp_path: Path, **inputs: str) -> Job:
    folder = tmp_path / "work"
    folder.mkdir()
    return Job(ROOT, folder, {"command": str(egressmon.path), **inputs})


def errors(found: Job) -> list[str]:
    commands = [command for step in found.steps for command in step.commands]
    return [command.text for command in commands if command.name == "error"]


def test_a_clean_run_is_green_and_told(egressmon: StandIn, tmp_path: Path) -> None:
    found = job(egressmon, tmp_path).run("echo building")

    main, _, post = found.steps
    assert not found.failed
    assert main.outputs == {"run": RUN, "evidence": "/var/lib/egressmon/run"}
    assert post.outputs == {
        "verdict": "clean",
        "evidence": "/var/lib/egressmon/run",
        "summary": f"clean: 12 records, head {HEAD}",
    }
    assert HEAD in post.log
    assert [call.words for call in egressmon.calls()] == [
        ["sidecar", "--all", "--detach", "--json"],
        ["sidecar", "stop", "--token-stdin", "--report", "github", "--json"],
    ]


def test_inputs_are_forwarded_each_as_one_word(
    egressmon: StandIn, tmp_path: Path
) -> None:
    inputs = {"policy": "--all $(id)", "enforce": "fail", "evidence": "a b"}

    job(egressmon, tmp_path, **inputs).run()

    assert egressmon.calls()[0].words[4:] == [
        "--policy=--all $(id)",
        "--enforce=fail",
        "--evidence=a b",
    ]


def test_the_token_goes_to_the_state_and_by_a_pipe_alone(
    egressmon: StandIn, tmp_path: Path
) -> None:
    egressmon.will("stop", json.dumps(ended()), stderr=f"the token is {TOKEN}\n")

    found = job(egressmon, tmp_path).run("env")

    assert found.masks[0] == TOKEN
    assert found.steps[0].state["token"] == TOKEN
    assert all(TOKEN not in step.log for step in found.steps)
    start, stop = egressmon.calls()
    assert stop.given == f"{TOKEN}\n"
    assert TOKEN not in json.dumps([start.words, stop.words, stop.environment])
    holding = [
        path.name
        for path in (tmp_path / "work").rglob("*")
        if path.is_file() and TOKEN in path.read_text()
    ]
    assert all(name.startswith("github_state_") for name in holding), holding


def test_what_the_job_may_change_for_later_steps_does_not_reach_egressmon(
    egressmon: StandIn, tmp_path: Path
) -> None:
    fake = tmp_path / "fake"
    fake.mkdir()
    shutil.copy("/bin/true", fake / "egressmon")
    evil = f'echo {fake} >>"$GITHUB_PATH"; printf "%s\\n" EVIL=1 PYTHONPATH=/x '
    evil += 'STATE_mode=mark STATE_token=x STATE_program=/bin/true >>"$GITHUB_ENV"'
    egressmon.will("stop", json.dumps(ended("violations", 120)), status=120)

    found = job(egressmon, tmp_path).run(evil)

    assert found.failed
    stop = egressmon.calls()[-1]
    assert stop.given == f"{TOKEN}\n"
    assert str(fake) not in stop.environment["PATH"]
    unwanted = {"EVIL", "PYTHONPATH", "GITHUB_TOKEN", "RUNNER_TRACKING_ID"}
    assert not unwanted & set(stop.environment)
    assert not [name for name in stop.environment if name.startswith("STATE_")]


def test_a_name_is_looked_up_once_at_the_start(
    egressmon: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{egressmon.path.parent}:/usr/local/bin:/usr/bin:/bin")
    begun = job(egressmon, tmp_path, command="egressmon").run(
        f"rm {egressmon.path}; ln -s /bin/true {egressmon.path}"
    )

    # What has the path by then answers nothing: that is no clean run.
    assert begun.failed
    assert begun.steps[0].state["program"] == str(egressmon.path)


@pytest.mark.parametrize(
    ("verdict", "status", "told"),
    [
        ("violations", 120, "does not allow"),
        ("incomplete", 121, "proves nothing"),
    ],
)
def test_what_is_not_fine_fails_the_job(
    egressmon: StandIn, tmp_path: Path, verdict: str, status: int, told: str
) -> None:
    egressmon.will("stop", json.dumps(ended(verdict, status)), status=status)

    found = job(egressmon, tmp_path).run("true")

    post = found.steps[-1]
    assert post.status == status
    assert post.outputs["verdict"] == verdict
    assert told in errors(found)[0]


def test_violations_that_are_only_reported_are_green(
    egressmon: StandIn, tmp_path: Path
) -> None:
    egressmon.will("stop", json.dumps(ended("violations", 0)))

    found = job(egressmon, tmp_path).run("true")

    assert not found.failed
    assert found.steps[-1].outputs["verdict"] == "violations"


def test_the_run_is_ended_though_a_step_failed(
    egressmon: StandIn, tmp_path: Path
) -> None:
    found = job(egressmon, tmp_path).run("exit 3", "echo never")

    assert [step.status for step in found.steps] == [0, 3, 0]
    assert len(egressmon.calls()) == 2


def test_a_mark_only_marks(egressmon: StandIn, tmp_path: Path) -> None:
    found = job(egressmon, tmp_path, mark="integration tests").run("true")

    assert not found.failed
    assert [call.words for call in egressmon.calls()] == [
        ["sidecar", "mark", "integration tests"]
    ]
    assert "head blake3:00" in found.steps[0].log


def test_a_mark_that_fails_fails_the_job(egressmon: StandIn, tmp_path: Path) -> None:
    egressmon.will("mark", "", status=2)

    assert job(egressmon, tmp_path, mark="tests").run().failed


HANGS: dict[str, Any] = {"text": "", "hang": True}
BAD_STARTS: dict[str, dict[str, Any]] = {
    "it fails": {"text": "", "status": 125},
    "it fails with an answer": {"text": json.dumps(started()), "status": 125},
    "no output": {"text": ""},
    "garbage": {"text": "\x00\x1b[2J{{{"},
    "a list": {"text": "[1]"},
    "null": {"text": "null"},
    "a text": {"text": '"token"'},
    "two answers": {"text": (json.dumps(started()) + "\n") * 2},
    "half an answer": {"text": json.dumps(started())[:-5]},
    "no token": {"text": json.dumps(started(token=None))},
    "an empty token": {"text": json.dumps(started(token=""))},
    "a token that is a number": {"text": json.dumps(started(token=7))},
    "a token of two lines": {"text": json.dumps(started(token=f"{TOKEN}\nx<<y"))},
    "a token with a command": {
        "text": json.dumps(started(token=f"{TOKEN}\n::stop-commands::x"))
    },
    "no run": {"text": json.dumps(started(run={}))},
    "a run with a line break": {"text": json.dumps(started(run=f"{RUN}\nevil=1"))},
    "evidence of a wrong type": {"text": json.dumps(started(evidence=["/x"]))},
    "evidence with a line break": {"text": json.dumps(started(evidence="/x\ny"))},
    "a prototype": {"text": '{"__proto__": ' + json.dumps(started()) + "}"},
    "endless output": {"text": "x" * 65536, "times": 64},
    "it is killed": {"text": "", "signal": int(signal.SIGKILL)},
}


@pytest.mark.parametrize("answer", BAD_STARTS.values(), ids=BAD_STARTS)
def test_a_start_that_is_not_told_as_it_should_be_fails_the_job(
    egressmon: StandIn, tmp_path: Path, answer: dict[str, Any]
) -> None:
    egressmon.will("start", **answer)

    found = job(egressmon, tmp_path).run("echo never")

    assert found.steps[0].status != 0
    assert [step.name for step in found.steps] == ["main", "post"]
    assert errors(found)
    assert all("defect" not in text for text in errors(found))
    assert all(TOKEN not in step.log for step in found.steps)
    assert "evil" not in found.steps[0].outputs


BAD_ENDS: dict[str, dict[str, Any]] = {
    "no output": {"text": ""},
    "refused": {"text": "", "status": 1},
    "no sidecar there": {"text": "", "status": 2},
    "garbage": {"text": "clean"},
    "a list": {"text": "[]"},
    "not concluded": {"text": json.dumps(ended(concluded=False))},
    "ok is a text": {"text": json.dumps(ended(ok="true"))},
    "ok only": {"text": '{"ok": true}'},
    "an unknown verdict": {"text": json.dumps(ended("fine"))},
    "a verdict of two lines": {"text": json.dumps(ended("clean\nclean"))},
    "another run": {"text": json.dumps(ended(run="other"))},
    "no run": {"text": json.dumps(ended(run=None))},
    "clean, but 120": {"text": json.dumps(ended("clean", 120)), "status": 120},
    "clean, but it ended otherwise": {"text": json.dumps(ended()), "status": 121},
    "says 120, ended with 0": {"text": json.dumps(ended("violations", 120))},
    "incomplete with 0": {"text": json.dumps(ended("incomplete", 0))},
    "a status that is a text": {"text": json.dumps(ended(exit_status="0"))},
    "a status that is true": {"text": json.dumps(ended(exit_status=False))},
    "no head": {"text": json.dumps(ended(head=None))},
    "a head with a command": {"text": json.dumps(ended(head="##[error]::x::y"))},
    "half a head": {"text": json.dumps(ended(head=HEAD[:-1]))},
    "no count": {"text": json.dumps(ended(records="12"))},
    "an endless count": {
        "text": json.dumps(ended(records=0)).replace('"records": 0', '"records": 1e400')
    },
    "a deep answer": {"text": "[" * 200_000},
    "more than an answer": {"text": json.dumps(ended()) + "\nTraceback"},
    "an answer twice": {"text": '{"ok": true, "concluded": true, "ok": false}'},
    "evidence of two lines": {"text": json.dumps(ended(evidence="a\nb"))},
    "it is killed": {"text": json.dumps(ended()), "signal": int(signal.SIGTERM)},
    "endless output": {"text": " " * 65536, "times": 64},
}


@pytest.mark.parametrize("answer", BAD_ENDS.values(), ids=BAD_ENDS)
def test_an_end_that_is_not_told_as_it_should_be_fails_the_job(
    egressmon: StandIn, tmp_path: Path, answer: dict[str, Any]
) -> None:
    egressmon.will("stop", **answer)

    found = job(egressmon, tmp_path).run("true")

    assert found.failed
    assert found.steps[-1].status != 0
    assert "verdict" not in found.steps[-1].outputs
    assert all("defect" not in text for text in errors(found))


@pytest.mark.parametrize("which", ["start", "stop", "mark"])
def test_one_that_hangs_fails_the_job(
    egressmon: StandIn, tmp_path: Path, which: str
) -> None:
    egressmon.will(which, **HANGS)
    inputs = {"timeout": "0.5"} | ({"mark": "x"} if which == "mark" else {})

    found = job(egressmon, tmp_path, **inputs).run("true")

    assert found.failed
    assert "took more than 0.5 s" in errors(found)[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_that_is_cancelled_leaves_no_start_behind(
    egressmon: StandIn, tmp_path: Path, number: signal.Signals
) -> None:
    egressmon.will("start", **HANGS)
    files = {name: str(tmp_path / name) for name in ("GITHUB_STATE", "GITHUB_OUTPUT")}
    main = subprocess.Popen(
        ["node", str(ROOT / "scripts/action/main.js")],
        env={"PATH": os.environ["PATH"], "INPUT_COMMAND": str(egressmon.path), **files},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert main.stderr is not None
    assert main.stderr.readline() == "hanging\n"

    main.send_signal(number)
    said, _ = main.communicate()

    assert main.returncode == 125
    assert "the step was cancelled" in said
    egressmon.wait_for_end()


def test_without_a_runner_nothing_is_started(
    egressmon: StandIn,
) -> None:
    done = subprocess.run(
        ["node", str(ROOT / "scripts/action/main.js")],
        check=False,
        env={"PATH": os.environ["PATH"], "INPUT_COMMAND": str(egressmon.path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 125
    assert "GITHUB_STATE is not set" in done.stdout
    assert egressmon.calls() == []


def test_one_that_leaves_a_process_with_its_pipe_is_not_waited_for(
    egressmon: StandIn, tmp_path: Path
) -> None:
    text = json.dumps(started())
    egressmon.will("start", text, leave=True)
    begun = job(egressmon, tmp_path)

    step = begun.main()

    assert step.status == 0
    assert step.outputs["run"] == RUN


@pytest.mark.parametrize(
    "inputs",
    [
        {"command": "/missing/egressmon"},
        {"command": "egressmon-that-is-nowhere"},
        {"command": "./egressmon"},
        {"command": "/etc"},
        {"command": "/etc/passwd"},
        {"timeout": "soon"},
        {"timeout": "-1"},
        {"mark": "--root"},
    ],
)
def test_an_input_that_cannot_be_used_fails_the_job(
    egressmon: StandIn, tmp_path: Path, inputs: dict[str, str]
) -> None:
    found = job(egressmon, tmp_path, **inputs).run("true")

    assert found.steps[0].status != 0
    assert errors(found)
    assert egressmon.calls() == []


def test_a_message_holds_no_command(egressmon: StandIn, tmp_path: Path) -> None:
    name = "egressmon\n::set-env name=x::y\r##[error]z %0A::w \u202e\x1b[2J"

    found = job(egressmon, tmp_path, command=name).run()

    commands = found.steps[0].commands
    assert [command.name for command in commands] == ["error"]
    assert "\n" not in commands[0].text
    assert "\u202e" not in found.steps[0].log
    assert "\x1b" not in found.steps[0].log


def test_a_state_that_cannot_be_written_ends_the_run(
    egressmon: StandIn, tmp_path: Path
) -> None:
    found = job(egressmon, tmp_path)
    # A folder in its place stands for a disk that is full by then.
    egressmon.will(
        "start", json.dumps(started()), full=f"{tmp_path}/work/github_state_*"
    )

    step = found.main()

    assert step.status != 0
    assert "cannot be written" in errors(found)[0]
    stop = egressmon.calls()[-1]
    assert stop.words == ["sidecar", "stop", "--token-stdin"]
    assert stop.given == f"{TOKEN}\n"


def test_an_environment_file_is_read_as_the_runner_does() -> None:
    assert entries("a=b=c\n\nd<<x\ne=1\nf<<y\nx\n") == {"a": "b=c", "d": "e=1\nf<<y"}
    for text in ("nothing", "a<<x\nb", "=x"):
        with pytest.raises(FileError):
            entries(text)
