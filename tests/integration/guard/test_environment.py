"""`egressmon guard`: the start-up line of a virtual environment."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.guarded import environment, written
from support.watching import EGRESSMON

CODE = """\
import socket
try:
    socket.create_connection(("198.51.100.7", 443), timeout=0.01)
except PermissionError as error:
    print("refused", error)
except OSError as error:
    print("passed")
"""


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EGRESSMON, "guard", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
    )


def written_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def start(venv: Path, *options: str, code: str = CODE) -> str:
    done = subprocess.run(
        [str(venv / "bin/python"), *options, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=venv,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def enabled(venv: Path, tmp_path: Path) -> Path:
    ledger = tmp_path / "ledger.jsonl"
    done = command(
        "enable", "--environment", venv, "--policy", written(tmp_path),
        "--ledger", ledger,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return venv


@pytest.mark.parametrize("options", [(), ("-I",), ("-E",), ("-s", "-B")])
def test_each_python_starts_guarded(enabled: Path, options: tuple[str, ...]) -> None:
    assert start(enabled, *options).startswith("refused")


def test_not_with_the_option_that_reads_no_line_and_status_says_so(
    enabled: Path,
) -> None:
    # A way to it is in no namespace of ours: it is refused in the process, or tried.
    assert "refused" not in start(enabled, "-S", code="import sys; print(sys.flags)")
    said = command("status", "--environment", enabled)

    assert said.returncode == 0
    assert "not guarded: python -S" in said.stdout


def test_status_as_json_names_the_policy_and_its_digest(
    enabled: Path, tmp_path: Path
) -> None:
    said = json.loads(
        command("status", "--environment", enabled, "--format", "json").stdout
    )

    assert said["enabled"] is True
    assert said["policy"] == str(tmp_path / "egress.toml")
    assert said["digest"].startswith("sha256:")
    assert said["problem"] is None


def test_disable_ends_it(enabled: Path) -> None:
    assert command("disable", "--environment", enabled).returncode == 0

    assert not list(enabled.rglob("_egressmon_guard.pth"))
    said = command("status", "--environment", enabled)
    assert said.returncode == 1
    assert "not guarded" in said.stdout
    again = command("disable", "--environment", enabled)
    assert again.returncode == 0
    assert "was not guarded" in again.stdout


def test_a_policy_that_vanishes_refuses_all(enabled: Path, tmp_path: Path) -> None:
    (tmp_path / "egress.toml").unlink()

    assert "every destination is refused" in start(enabled)
    said = command("status", "--environment", enabled)
    assert said.returncode == 1
    assert "every destination is refused" in said.stdout


def test_a_changed_policy_is_refused_where_its_digest_was_given(
    venv: Path, tmp_path: Path
) -> None:
    policy = written(tmp_path)
    words = "enable", "--environment", venv, "--policy", policy
    assert command(*words, "--policy-digest", "0" * 64).returncode == 2


def test_an_installation_that_is_gone_refuses_all(enabled: Path) -> None:
    found = next(enabled.rglob("_egressmon.pth"))
    text = found.read_text()
    found.write_text("")
    try:
        said = start(enabled)
    finally:
        found.write_text(text)

    assert "it cannot be started (ModuleNotFoundError" in said
    assert "refused" in said.splitlines()[0]


def test_a_line_that_somebody_changed_is_told(enabled: Path) -> None:
    line = next(enabled.rglob("_egressmon_guard.pth"))
    line.write_text(line.read_text().replace("boot.begin(*settings)", "pass"))

    said = command("status", "--environment", enabled)

    assert said.returncode == 1
    assert "not as this version" in said.stdout


def test_a_policy_that_is_wrong_is_not_enabled(venv: Path, tmp_path: Path) -> None:
    done = command(
        "enable", "--environment", venv, "--policy", written(tmp_path, "version = 3")
    )

    assert done.returncode == 2
    assert "egress.toml" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give files away")
def test_whoever_else_could_have_written_the_policy_is_named(
    venv: Path, tmp_path: Path
) -> None:
    policy = written(tmp_path)
    os.chown(policy, 65534, -1)

    done = command("enable", "--environment", venv, "--policy", policy)

    assert done.returncode == 0
    assert f"egressmon: policy: {policy} is owned by nobody" in done.stderr


def test_a_folder_that_is_no_environment_is_bad_usage(tmp_path: Path) -> None:
    done = command("status", "--environment", tmp_path)

    assert done.returncode == 2
    assert "no virtual environment" in done.stderr


def test_egressmon_must_be_installed_there(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)

    done = command("enable", "--environment", tmp_path, "--policy", written(tmp_path))

    assert done.returncode == 2
    assert "egressmon is not installed in" in done.stderr


def test_children_of_the_environment_inherit_it_and_others_are_told_of(
    enabled: Path, tmp_path: Path
) -> None:
    code = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {CODE!r}])
subprocess.run([sys.executable, "-S", "-c", "pass"])
subprocess.run(["true"])
os.system("true")
"""

    said = start(enabled, code=code)

    assert said.startswith("refused")
    ledger = [json.loads(one) for one in written_lines(tmp_path / "ledger.jsonl")]
    found = [
        (Path(one["host"]).name, one["verdict"])
        for one in ledger
        if one["kind"] == "child"
    ]
    assert found == [
        ("python", "guarded child"),
        ("python", "unguarded child"),
        ("true", "unguarded child"),
        ("sh", "unguarded child"),
    ]


def test_what_multiprocessing_spawns_is_guarded(enabled: Path, tmp_path: Path) -> None:
    program = tmp_path / "spawning.py"
    program.write_text(
        "import multiprocessing\n"
        f"def work():\n    exec({CODE!r})\n"
        "if __name__ == '__main__':\n"
        "    for method in ('fork', 'forkserver', 'spawn'):\n"
        "        one = multiprocessing.get_context(method).Process(target=work)\n"
        "        one.start(); one.join()\n"
    )
    done = subprocess.run(
        [str(enabled / "bin/python"), str(program)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.stdout.count("refused") == 3, done.stderr


def test_a_sub_interpreter_is_guarded(enabled: Path) -> None:
    code = f"""
import importlib
for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        module = importlib.import_module(name)
    except ImportError:
        continue
    module.run_string(module.create(), {CODE!r})
    break
"""

    assert "refused" in start(enabled, code=code)


def test_egressmon_itself_is_not_guarded(enabled: Path) -> None:
    done = subprocess.run(
        [str(enabled / "bin/python"), "-I", "-m", "egressmon", "--version"],
        check=False,
        capture_output=True,
        text=True,
    )
    code = "import sys; print('egressmon.guard.deciding' in sys.modules)"

    assert done.returncode == 0, done.stderr
    assert start(enabled, code=code) == "False\n"


def test_what_a_start_imports_is_light(enabled: Path) -> None:
    code = "import sys; print(*sorted(sys.modules))"

    loaded = set(start(enabled, "-I", code=code).split())

    heavy = {"pydantic", "typing", "re", "json", "logging", "socket", "ipaddress"}
    heavy |= {"pathlib", "asyncio", "threading", "egressmon.policy", "egressmon.text"}
    command("disable", "--environment", enabled)
    bare = set(start(enabled, "-I", code=code).split())
    assert not (loaded - bare) & heavy
    assert {one for one in loaded - bare if one.startswith("egressmon.")} == {
        "egressmon.guard", "egressmon.guard.boot", "egressmon.guard.guard",
        "egressmon.guard.hook", "egressmon.guard.known", "egressmon.guard.mark",
        "egressmon.guard.resolving",
        "egressmon.guard.source", "egressmon.guard.state", "egressmon.guard.violation",
    }  # fmt: skip


@pytest.mark.parametrize("ledger", ["/dev/full", "fifo", "no/such/ledger"])
def test_a_ledger_that_nothing_can_be_written_to_is_refused(
    venv: Path, tmp_path: Path, ledger: str
) -> None:
    if ledger == "fifo":
        os.mkfifo(tmp_path / ledger)
    done = command(
        "enable", "--environment", venv, "--policy", written(tmp_path),
        "--ledger", tmp_path / ledger,
    )  # fmt: skip

    assert done.returncode == 2
    assert "its ledger" in done.stderr


def test_status_says_that_nothing_can_be_written_down(
    enabled: Path, tmp_path: Path
) -> None:
    (tmp_path / "ledger.jsonl").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "ledger.jsonl")

    said = command("status", "--environment", enabled)

    assert said.returncode == 1
    assert "no regular file" in said.stdout
