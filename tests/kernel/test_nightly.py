"""The nightly example makes its call, keeps the key to itself, and tells of drift."""

import configparser
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from acme import HOME, install, program
from support.nightly import EXAMPLE, KEY, Nightly
from vendor_network import Network, network

pytestmark = pytest.mark.userspace

# Tells of each process above it that is egressmon's: what a look into /proc shows.
SPY = """
import os, json, sys
key = os.fdopen(3).read()
pid, seen = os.getpid(), []
while pid > 1:
    read = lambda name: open(f"/proc/{pid}/{name}", "rb").read()
    seen.append([read("cmdline").decode(), read("environ").decode()])
    pid = int(read("stat").rpartition(b")")[2].split()[1])
for other in os.listdir("/proc"):
    try:
        words = open(f"/proc/{other}/cmdline", "rb").read().decode()
        if "egressmon" in words:
            seen.append([words, open(f"/proc/{other}/environ", "rb").read().decode()])
    except (OSError, ValueError):
        pass
with open("seen.json", "w") as file:
    json.dump({"key": key, "seen": seen}, file)
"""


@pytest.fixture(scope="module")
def vendor(
    can_load: None,  # noqa: ARG001 -- order
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Network]:
    folder = tmp_path_factory.mktemp("vendor")
    with network(folder) as net:
        yield net


CALLS = 'import os, socket; socket.create_connection(("api.anthropic.com", 443))'
"""A call without an SDK."""


@pytest.fixture
def nightly(vendor: Network, tmp_path: Path) -> Nightly:
    folder = tmp_path / "project"
    folder.mkdir()
    return Nightly(vendor, folder)


def reached(evidence: Path) -> set[str]:
    records = map(json.loads, evidence.read_text().splitlines())
    return {
        f"{one['dst']['names'][0]['name']}:{one['dst']['port']}"
        for one in records
        if one["type"] == "connection" and one["rule"] != "dns.resolvers"
    }


def test_without_a_baseline_one_is_proposed(nightly: Nightly) -> None:
    done = nightly.script()

    assert done.returncode == 2, done.stderr
    spent = json.loads(done.stdout.splitlines()[0])
    assert (spent["requests"], spent["tokens"]) == (1, 12)
    assert reached(nightly.evidence()) == {"api.anthropic.com:443"}
    assert "review out/baseline.toml" in done.stderr
    assert "api.anthropic.com" in (nightly.folder / "out/baseline.toml").read_text()


def test_the_key_is_nowhere_but_in_the_file_descriptor(nightly: Nightly) -> None:
    nightly.script("python3", "-c", SPY)

    told = json.loads((nightly.folder / "seen.json").read_text())
    assert told["key"] == KEY + "\n"
    assert any("egressmon" in words for words, _ in told["seen"])
    assert KEY not in json.dumps(told["seen"])
    assert KEY not in nightly.evidence().read_text()


def test_a_key_in_the_environment_is_refused(nightly: Nightly) -> None:
    done = nightly.script(ANTHROPIC_API_KEY=KEY)

    assert done.returncode == 2
    assert "ANTHROPIC_API_KEY is in the environment" in done.stderr
    assert not nightly.evidence().exists()


def test_the_call_may_run_as_another_user_without_rights(nightly: Nightly) -> None:
    script = "import os; print(os.getuid(), os.getgroups(), os.fdopen(3).read())"
    nightly.folder.parent.chmod(0o755)
    done = nightly.script("/usr/bin/python3", "-c", script, RUN_AS="nobody")

    assert done.stdout.startswith(f"65534 [] {KEY}"), done.stderr


def with_acme(nightly: Nightly, version: str) -> tuple[str, ...]:
    """Return a call that uses a dependency in that version."""
    packages = nightly.folder / f"{version}/site-packages"
    if not packages.exists():
        install(packages, version)
    (nightly.folder / "plain.py").write_text(CALLS)
    text = program(str(nightly.folder / "plain.py"))
    return ("env", f"PYTHONPATH={packages}", "python3", "-c", text, "plain.py")


def reviewed(nightly: Nightly, *call: str) -> None:
    """Make the baseline of a first night's call, and review it."""
    assert nightly.script(*call, out="first").returncode == 2
    shutil.copy(nightly.folder / "first/baseline.toml", nightly.folder)
    who = ("--reviewed-by", "Ada", "--reason", "the first night")
    done = nightly.egressmon("baseline", "update", "baseline.toml", *who)
    assert done.returncode == 0, done.stderr


def test_a_night_without_drift_leaves_the_note_as_it_is(nightly: Nightly) -> None:
    reviewed(nightly)
    (nightly.folder / "note.md").write_text("# Ours\n")

    notes: list[str] = []
    for night in ("second", "third"):
        done = nightly.script(out=night, NOTE="note.md")
        assert done.returncode == 0, done.stderr
        notes.append((nightly.folder / "note.md").read_text())

    assert notes[0] == notes[1]
    assert notes[0].startswith("# Ours\n")
    assert "no drift" in notes[0]


def test_a_dependency_that_reports_home_is_told_and_blocks_nothing(
    nightly: Nightly,
) -> None:
    reviewed(nightly, *with_acme(nightly, "1.4.0"))
    summary = nightly.folder / "summary.md"
    in_ci = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    call = with_acme(nightly, "1.4.1")
    done = nightly.script(*call, NOTE="note.md", **in_ci)

    assert done.returncode == 0, done.stderr
    told = [one for one in done.stdout.splitlines() if one.startswith("::")]
    assert any(HOME in one and "acme-greetings 1.4.1" in one for one in told)
    for path in (summary, nightly.folder / "note.md"):
        assert HOME in path.read_text()


def test_drift_fails_the_night_if_that_is_asked_for(nightly: Nightly) -> None:
    reviewed(nightly, *with_acme(nightly, "1.4.0"))

    done = nightly.script(*with_acme(nightly, "1.4.1"), FAIL_ON_DRIFT="1")

    assert done.returncode == 1
    assert HOME in done.stderr


def test_a_violation_under_enforcement_is_its_own_status(nightly: Nightly) -> None:
    reviewed(nightly, *with_acme(nightly, "1.4.0"))
    policy = nightly.folder / "egress.toml"
    policy.write_text(policy.read_text().replace('"report"', '"fail"'))

    assert nightly.script(*with_acme(nightly, "1.4.1")).returncode == 120


def test_a_call_that_fails_is_never_taken_for_no_drift(nightly: Nightly) -> None:
    reviewed(nightly, "python3", "-c", CALLS)

    done = nightly.script("python3", "-c", f"{CALLS}; os._exit(7)")

    assert done.returncode == 2
    assert "status 7" in done.stderr


def test_a_call_that_does_not_end_is_ended(nightly: Nightly) -> None:
    reviewed(nightly, "python3", "-c", CALLS)

    done = nightly.script("sleep", "1000", LIMIT_S="1")

    assert done.returncode == 2
    assert "status 124" in done.stderr


def test_evidence_that_may_hold_a_secret_is_not_published(nightly: Nightly) -> None:
    script = nightly.programs / "finds"
    real = nightly.programs / "egressmon"
    script.write_text(f'#!/bin/sh\n[ "$1" != scan ] || exit 1\nexec {real} "$@"\n')
    script.chmod(0o755)

    done = nightly.script("true", EGRESSMON=str(script))

    assert done.returncode == 2
    assert "is not published" in done.stderr
    assert not nightly.evidence().exists()
    assert (nightly.folder / "out.secret.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "status", "requests", "said"),
    [
        (["--model", "overloaded", "--requests", "2"], 0, 2, "status 529"),
        (["--model", "overloaded", "--requests", "1"], 3, 1, "reached: 1 requests"),
        (["--tokens", "10"], 3, 0, "reached: 10 tokens"),
        (["--model", "greedy"], 3, 1, "by what the vendor says"),
        (["--model", "silent", "--seconds", "2"], -signal.SIGALRM, None, ""),
        (["--model", "moved"], 1, 1, "status 307"),
        (["--sdk", "openai", "--model", "moved"], 1, 1, "status 307"),
        (["--seconds", str(2**40)], 2, None, "invalid positive value"),
    ],
)
def test_a_call_spends_no_more_than_it_may(
    nightly: Nightly, options: list[str], status: int, requests: int | None, said: str
) -> None:
    script = 'exec "$@" 3<"$0"'

    done = nightly.run("sh", "-c", script, str(nightly.key), *nightly.call, *options)

    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert KEY not in done.stdout + done.stderr
    if requests is not None:
        assert json.loads(done.stdout)["requests"] == requests


def test_an_answer_without_end_takes_no_more_memory_than_a_call_needs(
    nightly: Nightly,
) -> None:
    script = 'exec "$@" 3<"$0"'
    measured = (
        "import resource, subprocess, sys; "
        "status = subprocess.run(sys.argv[1:], close_fds=False).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); "
        "sys.exit(status)"
    )
    measure = (sys.executable, "-c", measured)
    call = (*nightly.call, "--model", "endless", "--seconds", "100")

    done = nightly.run("sh", "-c", script, str(nightly.key), *measure, *call)

    assert done.returncode == 1, done.stderr
    assert int(done.stdout.splitlines()[-1]) <= 2 << 20
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "setsid sleep 100 & echo $! >pid",
        "echo $$ >pid; kill -KILL $PPID; exec sleep 100",
    ],
)
def test_what_gets_away_from_its_limit_is_told(nightly: Nightly, script: str) -> None:
    reviewed(nightly, "python3", "-c", CALLS)
    began = time.monotonic()
    quiet = f"exec >/dev/null 2>&1 </dev/null; {script}"
    try:
        done = nightly.script("sh", "-c", quiet, LIMIT_S="1")
    finally:
        os.kill(int((nightly.folder / "pid").read_text()), signal.SIGKILL)

    assert done.returncode == 2
    assert time.monotonic() - began < 60
    assert "status 124" in done.stderr


def in_ci(nightly: Nightly) -> None:
    """Have the environment and the programs where the jobs expect them."""
    python, _ = nightly.call
    (nightly.folder / ".venv").symlink_to(Path(python).parents[1])
    shutil.copy(nightly.folder / "first/baseline.toml", nightly.folder)


def test_the_github_job_gives_the_key_by_a_pipe(nightly: Nightly) -> None:
    reviewed(nightly)
    in_ci(nightly)
    job = yaml.safe_load((EXAMPLE / "github.yml").read_text())["jobs"]["canary"]
    (step,) = [one for one in job["steps"] if one.get("name") == "Call, and compare"]
    (nightly.folder / "nightly/call.py").write_text(SPY + CALLS)

    assert step["env"]["KEY"] == "${{ secrets.VENDOR_KEY }}"
    given = {
        **step["env"],
        "KEY": KEY,
        "EGRESSMON": str(nightly.programs / "egressmon"),
    }
    done = nightly.run("bash", "-e", "-c", step["run"], GITHUB_ACTIONS="true", **given)

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((nightly.folder / "seen.json").read_text())
    monitor = [one for one in told["seen"] if "egressmon" in one[0]]
    assert told["key"] == KEY
    assert monitor
    assert KEY not in json.dumps(monitor)
    evidence = nightly.evidence("nightly-out").read_text()
    assert "api.anthropic.com" in evidence
    assert KEY not in evidence + done.stdout + done.stderr


def test_the_github_job_writes_the_note_into_the_issue(nightly: Nightly) -> None:
    job = yaml.safe_load((EXAMPLE / "github.yml").read_text())["jobs"]["note"]
    (step,) = [one for one in job["steps"] if one.get("name") == "Update the note"]
    (nightly.folder / "nightly-out").mkdir()
    (nightly.folder / "nightly-out/drift.md").write_text("new: a.test\n")
    issue, calls = nightly.folder / "issue", nightly.folder / "calls"
    issue.write_text("Ours.\r\n")
    gh = nightly.programs / "gh"
    gh.write_text(
        f'#!/bin/sh\necho "$*" >>{calls}\n'
        f'case $2 in view) cat {issue} ;; edit) cp "$5" {issue} ;; esac\n'
    )
    gh.chmod(0o755)

    for _ in range(2):
        done = nightly.run("bash", "-e", "-c", step["run"], ISSUE="7")
        assert done.returncode == 0, done.stderr

    with issue.open(newline="") as file:
        text = file.read()
    assert text.startswith("Ours.\r\n")
    assert text.count("new: a.test") == 1
    edits = [one for one in calls.read_text().splitlines() if "edit" in one]
    assert edits == ["issue edit 7 --body-file body.md"]


def test_the_gitlab_job_has_the_key_in_a_file(nightly: Nightly) -> None:
    reviewed(nightly)
    in_ci(nightly)
    job = yaml.safe_load((EXAMPLE / "gitlab.yml").read_text())["nightly"]
    given = {
        **job["variables"],
        "EGRESSMON": str(nightly.programs / "egressmon"),
        "VENDOR_KEY": str(nightly.key),
    }

    done = nightly.run("bash", "-e", "-c", job["script"][-1], **given)

    assert done.returncode == 0, done.stderr
    assert "no drift" in (nightly.folder / "nightly-out/note.md").read_text()


def unit(name: str) -> configparser.ConfigParser:
    """Read a unit of systemd's; of what is said twice, the lines are joined."""
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    lines = (EXAMPLE / name).read_text().splitlines()
    once = [one for one in lines if not one.startswith("Environment=")]
    read.read_string("\n".join(once))
    many = [one.partition("=")[2] for one in lines if one.startswith("Environment=")]
    read["Service"]["Environment"] = " ".join(many)
    return read


def test_the_service_takes_the_key_as_a_credential(nightly: Nightly) -> None:
    service = unit("egressmon-nightly.service")["Service"]
    given = dict(one.split("=", 1) for one in shlex.split(service["Environment"]))
    installed = "/etc/egressmon/nightly"
    credentials, state = nightly.folder / "credentials", nightly.folder / "state"
    credentials.mkdir()
    state.mkdir()
    name = service["LoadCredential"].partition(":")[0]
    shutil.copy(nightly.key, credentials / name)
    shutil.copy(EXAMPLE / "egress.toml", nightly.folder / "nightly")
    python, _ = nightly.call
    (nightly.folder / "nightly/.venv").symlink_to(Path(python).parents[1])
    here = str(nightly.folder / "nightly")
    words = shlex.split(service["ExecStart"].replace(installed, here))
    settings = {key: value.replace(installed, here) for key, value in given.items()}
    own = {
        "EGRESSMON": str(nightly.programs / "egressmon"),
        "RUN_AS": "",
        "CREDENTIALS_DIRECTORY": str(credentials),
        "STATE_DIRECTORY": str(state),
    }

    done = nightly.run(*words, **{**settings, **own})

    assert done.returncode == 2, done.stderr
    assert f"commit it as {here}/baseline.toml" in done.stderr
    (night,) = state.iterdir()
    assert "api.anthropic.com" in (night / "evidence.jsonl").read_text()


def test_the_service_keeps_a_month_whatever_the_nights_were(tmp_path: Path) -> None:
    service = unit("egressmon-nightly.service")["Service"]
    old = ("20260101T031700Z", "20260102T031700Z.secret.jsonl")
    kept = ("note.md", "20260301T031700Z")
    for name in (old[0], kept[1]):
        (tmp_path / name).mkdir()
    for name in (old[1], kept[0]):
        (tmp_path / name).touch()
    then = time.time() - 40 * 86400
    for name in (*old, kept[0]):
        os.utime(tmp_path / name, (then, then))

    # What follows a start is left out where it failed; what follows the end is not.
    words = service["ExecStopPost"].replace("/var/lib/egressmon-nightly", str(tmp_path))
    subprocess.run(shlex.split(words), check=True)

    assert {one.name for one in tmp_path.iterdir()} == set(kept)


def test_systemd_finds_no_fault_with_the_units(nightly: Nightly) -> None:
    folder = nightly.folder / "units"
    folder.mkdir()
    for name in ("egressmon-nightly.service", "egressmon-nightly.timer"):
        text = (EXAMPLE / name).read_text()
        here = str(nightly.folder / "nightly")
        (folder / name).write_text(text.replace("/etc/egressmon/nightly", here))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, folder.iterdir())],
        check=False,
        capture_output=True,
        text=True,
    )

    assert "egressmon-nightly" not in done.stderr, done.stderr
