"""What a person sees, on a terminal, in a log, and in GitHub Actions."""

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.lab import OTHER4
from support.watching import EGRESSMON, WATCH, Watched

Watch = Callable[..., Watched]


def test_a_first_run_without_a_policy_says_how_to_get_one(watched: Watch) -> None:
    run = watched("curl", "-sS", f"http://{OTHER4}/")

    lines = run.stderr.splitlines()
    assert lines[0].startswith("egressmon: violations (1 connection: 1 in violation")
    assert any(OTHER4 in line and "curl" in line for line in lines[1:4])
    assert "policy: none found (report)" in run.stderr
    assert "egressmon learn -- COMMAND" in run.stderr
    assert "blind spots: packet-sockets" in run.stderr
    assert "\x1b" not in run.stderr
    assert run.status == 0


def test_quiet_says_nothing_of_a_clean_run(watched: Watch) -> None:
    assert watched("true", options=["--quiet"]).stderr == ""


def test_a_terminal_gets_colour_and_no_color_takes_it_away(tmp_path: Path) -> None:
    def seen(environment: dict[str, str]) -> bytes:
        leader, terminal = pty.openpty()
        process = subprocess.Popen(
            [*WATCH, "--", "true"],
            stderr=terminal,
            cwd=tmp_path,
            env={**environment, "TERM": "xterm"},
        )
        os.close(terminal)
        data = b""
        try:
            while part := os.read(leader, 4096):
                data += part
        except OSError:
            pass  # a terminal without writers reads as EIO
        process.wait()
        os.close(leader)
        return data

    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}

    assert b"\x1b[1;32mclean" in seen(plain)
    assert b"\x1b[32m" not in seen({**plain, "NO_COLOR": "1"})


def test_github_actions_gets_annotations_and_a_page(
    watched: Watch, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    environment = {
        **os.environ,
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(page),
    }
    evil = tmp_path / "a|b\n::error::`c"
    evil.write_bytes(Path("/usr/bin/curl").read_bytes())
    evil.chmod(0o755)

    run = watched(str(evil), "-sS", f"http://{OTHER4}/", environment=environment)

    commands = [line for line in run.stderr.splitlines() if line.startswith("::")]
    assert len(commands) == 1
    assert commands[0].startswith("::warning title=Egress violation::")
    assert OTHER4 in commands[0]
    text = page.read_text()
    assert text.startswith("### egressmon: violations\n")
    assert f"| 1 | `{OTHER4}:80/tcp` |" in text
    assert "\n::error" not in text


def test_evidence_on_standard_output(tmp_path: Path) -> None:
    done = subprocess.run(
        [*WATCH, "--quiet", "--evidence", "-", "--", "true"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    lines = done.stdout.splitlines()
    assert '"run.start"' in lines[0]
    assert '"run.end"' in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_default_evidence_is_a_new_file_that_git_ignores(tmp_path: Path) -> None:
    for _ in range(2):
        subprocess.run(
            [*WATCH, "--", "true"],
            check=True,
            capture_output=True,
            cwd=tmp_path,
        )

    assert len(list((tmp_path / ".egressmon").glob("*.jsonl"))) == 2
    assert (tmp_path / ".egressmon/.gitignore").read_text() == "*\n"


def test_doctor_finds_this_machine_fit() -> None:
    done = subprocess.run(
        [*EGRESSMON, "doctor"], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout
    for what in (
        "kernel",
        "BTF",
        "cgroup v2",
        "capabilities",
        "libbpf",
        "probes load (libbpf)",
    ):
        assert f"ok   {what}: " in done.stdout
    # Whether a command could type into the terminal is this machine's to say.
    allowed = Path("/proc/sys/dev/tty/legacy_tiocsti")
    mark = "ok  " if allowed.exists() and allowed.read_text() == "0\n" else "?   "
    assert f"{mark} terminal: a command can" in done.stdout
    assert "packet-sockets" in done.stdout


# The scope's cgroup cannot be made where cgroup v2 is not mounted.
def test_without_cgroup_v2_nothing_is_started(tmp_path: Path) -> None:
    script = (
        "for point in $(grep ' cgroup2 ' /proc/mounts | cut -d' ' -f2); do "
        'umount -l $point; done; exec "$@"'
    )
    words = ["sh", "-c", script, "sh", *WATCH, "--", "touch", "ran"]

    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.returncode == 125
    assert "no cgroup v2 hierarchy is mounted" in done.stderr
    assert "mount -t cgroup2" in done.stderr
    assert not (tmp_path / "ran").exists()


# Without the capabilities to load probes nothing is started, either.
def test_without_cap_bpf_nothing_is_started(tmp_path: Path) -> None:
    drop = "--bounding-set=-bpf,-sys_admin,-perfmon"

    done = subprocess.run(
        ["setpriv", drop, *WATCH, "--verbose", "--", "touch", "ran"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.returncode == 125
    assert "error: missing capabilities: CAP_PERFMON, CAP_BPF" in done.stderr
    assert not (tmp_path / "ran").exists()
