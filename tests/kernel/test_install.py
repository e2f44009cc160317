"""The built wheel runs by itself, and gives the command to the user who called."""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from support.users import NOBODY, as_nobody
from support.watching import read_evidence

pytestmark = pytest.mark.userspace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed() -> Generator[Path]:
    """A clean virtual environment with the wheel, readable by every user."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-install-"))
    folder.chmod(0o755)
    try:
        build = [str(ROOT / "scripts/build-wheel"), str(folder)]
        done = subprocess.run(build, check=True, capture_output=True, text=True)
        (wheel,) = folder.glob("*.whl")
        assert done.stdout == f"{wheel}\n"
        names = zipfile.ZipFile(wheel).namelist()
        objects = [name for name in names if name.endswith(".bpf.o")]
        assert sorted(objects) == [
            f"egressmon/probes/programs/{machine}/{name}.bpf.o"
            for machine in ("aarch64", "x86_64")
            for name in ("egressmon", "frames")
        ]
        assert "egressmon/evidence/evidence.schema.json" in names
        assert "egressmon/policy/egress.schema.json" in names
        python = folder / "venv/bin/python"
        for step in (
            [sys.executable, "-m", "venv", str(folder / "venv")],
            [str(python), "-m", "pip", "-q", "install", str(wheel)],
        ):
            subprocess.run(step, check=True, capture_output=True)
        yield python
    finally:
        shutil.rmtree(folder)


# pip takes a wheel only if its name has a tag that the machine's Python knows.
def test_the_wheel_is_for_the_machines_whose_probes_it_has(installed: Path) -> None:
    (wheel,) = installed.parents[2].glob("*.whl")
    *_, tags = parse_wheel_filename(wheel.name)

    assert {str(tag) for tag in tags} == {
        "py3-none-manylinux_2_17_aarch64",
        "py3-none-manylinux_2_17_x86_64",
    }
    assert tags & set(sys_tags())


def test_what_is_installed_is_packed_as_the_same_wheel(
    installed: Path, tmp_path: Path
) -> None:
    (wheel,) = installed.parents[2].glob("*.whl")
    code = (
        "import sys, pathlib; from egressmon.installation.wheel import repack; "
        "repack(pathlib.Path(sys.argv[1]))"
    )

    subprocess.run([str(installed), "-I", "-c", code, str(tmp_path)], check=True)

    (packed,) = tmp_path.glob("*.whl")
    assert packed.name == wheel.name
    one, other = (set(zipfile.ZipFile(path).namelist()) for path in (packed, wheel))
    assert one == other


def test_the_wheel_runs_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "e.jsonl"

    done = subprocess.run(
        [
            str(installed.with_name("egressmon")),
            "watch",
            "--evidence",
            str(evidence),
            "--",
            "/bin/true",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/nowhere"},
    )

    assert done.returncode == 0, done.stderr
    assert read_evidence(evidence)[-1]["verdict"] == "clean"


# With `-W error` any warning of ours, as of what pytest should rewrite, ends it.
def test_pytest_in_the_same_environment_is_as_quiet_as_without(
    installed: Path, tmp_path: Path
) -> None:
    (wheel,) = installed.parents[2].glob("*.whl")
    python = str(tmp_path / "venv/bin/python")
    (tmp_path / "test_it.py").write_text("def test_it() -> None:\n    pass\n")
    for step in (
        [sys.executable, "-m", "venv", str(tmp_path / "venv")],
        [python, "-m", "pip", "-q", "install", "pytest"],
        [python, "-m", "pip", "-q", "install", "--no-deps", str(wheel)],
    ):
        subprocess.run(step, check=True, capture_output=True)

    done = subprocess.run(
        [python, "-W", "error", "-m", "pytest", "-q", "-W", "error"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout


STATE = (
    "import json, os; print(json.dumps({'ids': os.getresuid() + os.getresgid(), "
    "'groups': os.getgroups(), 'cwd': os.getcwd(), 'environment': dict(os.environ),"
    "'caps': [l for l in open('/proc/self/status') if l.startswith('CapEff')]}))"
)
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "VIRTUAL_ENV": "/some/venv",
    "LD_LIBRARY_PATH": "/some/libraries",
    "PYTHONPATH": "/some/modules",
    "MULTI": "a\nb=c",
    "HOME": "/nonexistent",
}


@pytest.fixture
def shared() -> Generator[Path]:
    """A folder that nobody may write."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-nobody-"))
    shutil.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("through", ["itself", "sudo"])
def test_the_command_runs_as_the_user_with_the_users_environment(
    installed: Path, shared: Path, tmp_path: Path, through: str
) -> None:
    # The installed Python: the checkout's may lie where nobody may not look.
    words = [str(installed), "-I", "-m", "egressmon", "watch", "--", str(installed)]
    words += ["-I", "-c", STATE]
    if through == "sudo":
        words = ["sudo", "-n", *words]
    allowed = "root ALL=(ALL:ALL) ALL\nALL ALL=(ALL:ALL) NOPASSWD: ALL\n"

    done = subprocess.run(
        as_nobody(tmp_path, words, allowed),
        check=False,
        capture_output=True,
        text=True,
        cwd=shared,
        env={**ENVIRONMENT, "PYTHONPATH": ""},
    )

    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert state["ids"] == [NOBODY] * 6
    assert state["caps"] == ["CapEff:\t0000000000000000\n"]
    assert state["cwd"] == str(shared)
    expected = {**ENVIRONMENT, "PYTHONPATH": ""}
    assert {k: state["environment"][k] for k in expected} == expected
    assert "SUDO_UID" not in state["environment"]
    (evidence,) = (shared / ".egressmon").glob("*.jsonl")
    assert evidence.stat().st_uid == NOBODY
    records = read_evidence(evidence)
    assert records[0]["user"] == NOBODY
    assert records[-1]["verdict"] == "clean"
    if through == "itself":
        assert "running itself with sudo" in done.stderr


def test_without_sudo_rights_it_says_what_to_do(
    installed: Path, shared: Path, tmp_path: Path
) -> None:
    words = [str(installed), "-I", "-m", "egressmon", "watch", "--", "touch", "ran"]

    done = subprocess.run(
        as_nobody(tmp_path, words, "root ALL=(ALL:ALL) ALL\n"),
        check=False,
        capture_output=True,
        text=True,
        cwd=shared,
        env=ENVIRONMENT,
    )

    assert done.returncode == 125
    assert "sudo did not let egressmon become root" in done.stderr
    assert "hint: " in done.stderr
    assert not (shared / "ran").exists()


# A shell that root opened with sudo long ago is root's: nothing is dropped.
def test_a_root_shell_stays_roots(
    installed: Path, shared: Path, tmp_path: Path
) -> None:
    watch = f"{installed} -I -m egressmon watch --quiet -- id -u; true"
    allowed = "ALL ALL=(ALL:ALL) NOPASSWD: ALL\n"

    done = subprocess.run(
        as_nobody(tmp_path, ["sudo", "-n", "sh", "-c", watch], allowed),
        check=True,
        capture_output=True,
        text=True,
        cwd=shared,
        env={**ENVIRONMENT, "PYTHONPATH": ""},
    )

    assert done.stdout == "0\n"


def test_root_stays_root(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(installed), "-I", "-m", "egressmon", "watch", "--quiet", "--", "id", "-u"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **ENVIRONMENT,
            "PYTHONPATH": "",
            "SUDO_COMMAND": "/bin/bash",
            "SUDO_UID": "1000",
            "SUDO_GID": "1000",
        },
    )

    assert done.stdout == "0\n"


def test_the_keeper_keeps_five_capabilities(tmp_path: Path) -> None:
    ready = "grep -h CapEff /proc/$PPID/status"

    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-m",
            "egressmon",
            "watch",
            "--quiet",
            "--",
            "sh",
            "-c",
            ready,
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    held = int(done.stdout.split()[1], 16)
    # CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETUID, CAP_SYS_PTRACE, CAP_BPF
    assert held == 1 << 1 | 1 << 5 | 1 << 7 | 1 << 19 | 1 << 39
