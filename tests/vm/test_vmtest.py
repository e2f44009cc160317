"""scripts/vmtest: a command under another kernel, and how it ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.watching import EGRESSMON

VMTEST = Path(__file__).parents[2] / "scripts/vmtest"
KERNEL = "6.1"


def boot(
    *words: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(VMTEST), *options, KERNEL, "--", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_command_runs_as_root_under_that_kernel_with_all_mounted() -> None:
    script = (
        "echo $(uname -r) $(id -u) $PWD; echo complaint >&2; "
        "for kind in cgroup2 bpf tracefs securityfs overlay; do "
        '  grep -q " $kind " /proc/mounts && echo $kind; done; exit 7'
    )

    done = boot("sh", "-c", script)

    first, *mounted = done.stdout.splitlines()
    release, user, folder = first.split()
    assert release.startswith(f"{KERNEL}.")
    assert user == "0"
    assert folder == os.getcwd()  # noqa: PTH109 -- as the guest says it
    assert mounted == ["cgroup2", "bpf", "tracefs", "securityfs", "overlay"]
    assert done.stderr.endswith("complaint\n")
    assert done.returncode == 7


def test_a_command_that_takes_too_long_is_124() -> None:
    done = boot("sleep", "1000", options=("--timeout", "8"))

    assert done.returncode == 124
    assert "not done in 8 s" in done.stderr


# What the command says goes through a pipe: what nobody has read yet dies with the
# machine. So it waits until its word has come out.
def test_a_kernel_that_dies_is_125_and_shows_its_log() -> None:
    done = boot(
        "sh", "-c",
        "echo before; until grep -q before /run/vmtest/out; do :; done; "
        "echo c >/proc/sysrq-trigger; sleep 100",
    )  # fmt: skip

    assert done.returncode == 125
    assert "before" in done.stdout
    assert "sysrq triggered crash" in done.stderr


def test_only_what_is_written_to_a_writable_folder_stays(tmp_path: Path) -> None:
    kept, lost = tmp_path / "kept", tmp_path / "lost"
    kept.mkdir()
    lost.mkdir()

    done = boot(
        *("sh", "-c", 'echo 1 >"$1/file"; echo 1 >"$2/file"', "sh"),
        *(str(kept), str(lost)),
        options=("--writable", str(kept)),
    )

    assert done.returncode == 0, done.stderr
    assert (kept / "file").read_text() == "1\n"
    assert list(lost.iterdir()) == []


# What is on the machine is in the guest's place of it, and no x86 program.
@pytest.mark.packages  # it fetches whole user lands, which takes minutes
@pytest.mark.parametrize(("suite", "python"), [("bookworm", 11), ("trixie", 13)])
def test_another_architecture_runs_this_checkout(suite: str, python: int) -> None:
    code = (
        "import os, sys, egressmon.values; "
        "print(os.uname().machine, os.uname().release, sys.version_info[1])"
    )
    words = [str(VMTEST), f"arm64/6.12@{suite}", "--", ".venv/bin/python", "-c", code]

    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=900
    )

    assert done.returncode == 0, done.stderr
    machine, release, minor = done.stdout.split()
    assert machine == "aarch64"
    assert release.startswith("6.12.")
    assert release.endswith("-arm64")
    assert int(minor) == python


@pytest.mark.packages
def test_another_architectures_command_that_takes_too_long_is_124() -> None:
    words = [str(VMTEST), "--timeout", "30", "arm64/6.1", "--", "sleep", "1000"]

    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=900
    )

    assert done.returncode == 124
    assert "not done in 30 s" in done.stderr


def test_an_unknown_kernel_is_named() -> None:
    done = subprocess.run(
        [str(VMTEST), "4.99", "--", "true"], check=False, capture_output=True, text=True
    )

    assert done.returncode == 125
    assert "no kernel 4.99" in done.stderr


# Such a kernel hides its memory from probes too: nothing of it may look watched.
@pytest.mark.parametrize("engine", ["auto", "libbpf"])
def test_lockdown_confidentiality_stops_the_run(engine: str, tmp_path: Path) -> None:
    words = [*EGRESSMON, "watch", "--engine", engine, "--", sys.executable, "-c", ""]

    done = boot(
        *("env", "-C", str(tmp_path), *words),
        options=("--append", "lockdown=confidentiality"),
    )

    assert done.returncode == 125
    error = done.stderr.splitlines()[-2:]
    assert error[0].startswith("error: the kernel is locked down (confidentiality)")
    assert error[1].startswith("hint: boot with lockdown=integrity")
