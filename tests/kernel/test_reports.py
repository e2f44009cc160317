"""What a person sees, on a terminal, in a log, and in GitHub Actions."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest

from support.lab import OTHER4, OTHER_PORT, SERVER4, Lab
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


PLAIN = {
    name: value
    for name, value in os.environ.items()
    if name not in {"NO_COLOR", "COLUMNS"}
}


def on_terminal(
    *words: str, folder: Path, columns: int = 80, no_color: str = "1"
) -> str:
    """Return what `words` print on a terminal that is `columns` wide."""
    leader, terminal = pty.openpty()
    size = struct.pack("HHHH", 24, columns, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    process = subprocess.Popen(
        words,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=folder,
        env={**PLAIN, "TERM": "xterm", "NO_COLOR": no_color},
        start_new_session=True,
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
    return data.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour_and_no_color_takes_it_away(tmp_path: Path) -> None:
    words = [*WATCH, "--", "true"]

    assert "\x1b[1;32mclean" in on_terminal(*words, folder=tmp_path, no_color="")
    assert "\x1b" not in on_terminal(*words, folder=tmp_path)


# The cursor is behind what was printed; after Ctrl-C, behind the terminal's own ^C.
def test_the_summary_begins_a_line_whatever_the_command_printed(tmp_path: Path) -> None:
    text = on_terminal(*WATCH, "--", "printf", "no newline", folder=tmp_path)

    assert text.startswith("no newline\negressmon: clean (")


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(
    network: Lab, tmp_path: Path, columns: int
) -> None:
    label = "a-label-of-40-characters-in-a-long-name."
    name = f"{label}{label}example.test"
    script = f"getent hosts {name}; curl -sS http://{OTHER4}/ http://{SERVER4}/"

    text = on_terminal(
        *network.enter(),
        *(*WATCH, "--", "sh", "-c", script),
        folder=tmp_path,
        columns=columns,
    )

    said = text[text.index("egressmon:") :].splitlines()
    assert max(map(len, said)) <= columns
    assert f"  1x {OTHER4}:80/tcp" in "\n".join(said)
    whole = "".join(line.strip() for line in said)
    assert name in whole
    assert "by curl" in whole


SCRIPT = f"""
curl -sS http://api.example.test/ http://four.example.test:{OTHER_PORT}/ >/dev/null
curl -sS http://{OTHER4}/ >/dev/null
ping -c 1 -W 1 {SERVER4} >/dev/null
dig +short nothing.example.test >/dev/null
"""
HALF = """version = 1
enforce = "fail"
[[allow]]
host = "four.example.test"
ports = [443]
"""
# Its policy names the address, but in the run somebody asked for another name of it.
MISNAMED = """version = 1
enforce = "fail"
[[allow]]
host = "api.example.test"
ports = [80]
"""
BARE = f"""
dig +short late.example.test >/dev/null
curl -sS http://{SERVER4}/ >/dev/null
"""


@pytest.mark.parametrize(
    ("policy", "script"), [(None, SCRIPT), (HALF, SCRIPT), (MISNAMED, BARE)]
)
def test_what_is_proposed_can_be_pasted_and_makes_the_run_clean(
    watched: Watch, tmp_path: Path, policy: str | None, script: str
) -> None:
    file = tmp_path / "egress.toml"
    if policy is not None:
        file.write_text(policy)
    first = watched("sh", "-c", script)
    _, heading, rest = first.stderr.partition("  to allow this, ")
    assert heading, first.stderr
    assert "no entry can allow" not in first.stderr
    said, _, rest = rest.partition(":\n")
    assert said in {"write to egress.toml", f"add to {file}"}
    lines = rest.splitlines(keepends=True)
    pasted = takewhile(lambda line: line.startswith("    "), lines)
    file.write_text((policy or "") + "".join(pasted))

    checked = subprocess.run(
        [*EGRESSMON, "policy", "check", str(file)], check=False, capture_output=True
    )
    again = watched("sh", "-c", script, options=["--enforce", "fail"])

    assert checked.returncode == 0, checked.stdout
    assert again.end["verdict"] == "clean", file.read_text() + again.stderr
    assert again.status == 0


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
