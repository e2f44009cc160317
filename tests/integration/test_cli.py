"""The command line, as a process without root."""

import hashlib
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from egressmon.cli.verbs.table import VERBS
from support.watching import EGRESSMON

POLICY = """\
version = 1
[[allow]]
host = "api.example.org"
reason = "calls"
[[allow]]
cidr = "192.0.2.0/24"
"""


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EGRESSMON, *words], check=False, capture_output=True, text=True, cwd=cwd
    )


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "egress.toml"
    path.write_text(POLICY)
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([verb, "--help"] for verb in VERBS),
        ["policy", "check", "--help"],
        ["policy", "explain", "--help"],
        ["--version"],
    ],
)
def test_help_is_there_and_fine(words: list[str]) -> None:
    done = run(*words)

    assert done.returncode == 0
    assert "egressmon" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 2),
        (["nonsense"], 2),
        (["policy", "check"], 2),
        (["policy", "explain", "x"], 2),
        (["policy", "check", ""], 2),
        (["policy", "explain", "", "example.org:443"], 2),
        (["watch"], 125),
        (["watch", "--"], 125),
        (["prove"], 125),
        (["prove", "--"], 125),
        (["prove", "no-such-plan.toml"], 125),
        (["prove", "plan.toml", "--", "true"], 125),
        (["prove", "--runs", "0", "--", "true"], 125),
        (["prove", "--set", "runs", "--", "true"], 125),
        (["prove", "--set", "phase.nobody.idle=1s", "--", "true"], 125),
        (["prove", "--output", "/", "--policy", "none.toml", "--", "true"], 125),
        (["watch", "--linger", "soon", "--", "true"], 125),
        (["watch", "--enforce", "maybe", "--", "true"], 125),
        (["watch", "--no-such-option", "--", "true"], 125),
        (["learn", "--linger"], 125),
        # Such as a variable that is not set: never the same as no option.
        (["watch", "--policy", "", "--", "true"], 125),
        (["watch", "--policy=", "--", "true"], 125),
        (["watch", "--evidence", "", "--", "true"], 125),
        (["learn", "--output", "", "--", "true"], 125),
    ],
)
def test_bad_usage_is_one_error_with_a_hint(words: list[str], status: int) -> None:
    done = run(*words)

    assert done.returncode == status
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2
    assert done.stdout == ""


@pytest.mark.parametrize("verb", ["watch", "learn"])
def test_what_runs_a_command_says_how_to_give_it(verb: str) -> None:
    done = run(verb, "--no-such-option")

    hint = done.stderr.splitlines()[1]
    assert hint == f"hint: egressmon {verb} [OPTIONS] -- COMMAND [ARGUMENT...]"


def test_a_run_without_a_policy_file_imports_no_library_for_it() -> None:
    heavy = {"pydantic", "idna", "tomllib", "dns", "rich", "pyroute2"}
    code = (
        "import sys, egressmon.start, egressmon.cli.main, egressmon.cli.running.watch\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )

    done = subprocess.run(
        [EGRESSMON[0], "-I", "-c", code], check=True, capture_output=True, text=True
    )

    assert done.stdout == "[]\n"


def test_explain_takes_an_international_name_as_the_policy_does(
    tmp_path: Path,
) -> None:
    policy = tmp_path / "egress.toml"
    policy.write_text('version = 1\n[[allow]]\nhost = "bücher.example"\n')

    same = run("policy", "explain", str(policy), "Bücher.example:443")
    none = run("policy", "explain", str(policy), "bü..cher.example:443")

    assert same.returncode == 0, same.stdout
    assert none.returncode == 2
    assert "not a valid internationalised name" in none.stderr


def test_check_accepts_a_good_policy(policy: str) -> None:
    done = run("policy", "check", policy)

    assert done.returncode == 0
    digest = hashlib.sha256(Path(policy).read_bytes()).hexdigest()
    assert done.stdout == (
        f'{policy}: fine; 2 allow entries, enforce = "report"\n'
        f"{policy}: sha256:{digest}\n"
    )


def test_check_compares_the_digest(policy: str) -> None:
    digest = hashlib.sha256(Path(policy).read_bytes()).hexdigest()
    same = run("policy", "check", policy, "--policy-digest", digest.upper())
    other = run("policy", "check", policy, "--policy-digest", "sha256:" + "0" * 64)
    bad = run("policy", "check", policy, "--policy-digest", "0f")

    assert same.returncode == 0
    assert other.returncode == 1
    assert f"its digest is sha256:{digest}" in other.stdout
    assert bad.returncode == 2
    assert "64 hexadecimal digits" in bad.stderr


def test_check_strict_wants_reasons(policy: str) -> None:
    done = run("policy", "check", "--strict", policy)

    assert done.returncode == 1
    assert done.stdout == f"{policy}:5: allow[1]: no reason is given\n"


def test_check_names_what_is_wrong(policy: str) -> None:
    Path(policy).write_text("version = 1\n[[alow]]\n")

    done = run("policy", "check", policy)

    assert done.returncode == 2
    assert done.stderr == (
        f"error: {policy}:2: alow: unknown key\n"
        "hint: known: version, enforce, bypass, allow, deny, dns, local, "
        "command, accept, origins, guard, layers, drift, native\n"
    )


@pytest.mark.parametrize(
    ("destination", "status", "says"),
    [
        ("api.example.org:443", 0, "allowed by allow[0]: api.example.org matches"),
        ("API.EXAMPLE.ORG:443/tcp", 0, "allowed by allow[0]"),
        ("api.example.org:80", 1, "violation: no allow entry covers"),
        ("192.0.2.7:443", 0, "allowed by allow[1]: 192.0.2.7 in 192.0.2.0/24"),
        ("evil.test:443", 1, "looking up evil.test: violation"),
        ("127.0.0.1:80", 1, "outside the scope"),
        ("[::1]:80/udp", 1, "violation"),
        ("http://x", 2, ""),
    ],
)
def test_explain(policy: str, destination: str, status: int, says: str) -> None:
    done = run("policy", "explain", policy, destination)

    assert done.returncode == status
    assert says in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ((), 1, "only by package httpx, and this is unknown"),
        (("--package", "httpx"), 0, "allowed by allow[0]"),
        (("--package", "pycurl"), 1, "only by package httpx, and this is pycurl"),
        (("--package", "httpx", "--bypass"), 1, "bypasses the language's own sockets"),
    ],
)
def test_explain_who(
    tmp_path: Path, words: tuple[str, ...], status: int, says: str
) -> None:
    path = tmp_path / "egress.toml"
    path.write_text(
        'version = 1\nbypass = "violation"\n[[allow]]\nhost = "a.example"\n'
        'by = { package = ["httpx"] }\n'
    )

    done = run("policy", "explain", *words, str(path), "a.example:443")

    assert done.returncode == status, done.stderr
    assert says in done.stdout


# As `watch` judges: a name by itself, an address as its packets have it.
@pytest.mark.parametrize(
    ("destination", "status", "says"),
    [
        ("evil.test:443", 1, "violation: no allow entry covers evil.test"),
        ("0.0.0.7:443", 0, "allowed by allow[0]"),
        ("[::ffff:192.0.2.7]:443", 0, "allowed by allow[1]"),
        ("[::ffff:127.0.0.1]:443", 0, "loopback is open"),
    ],
)
def test_explain_judges_as_watch_does(
    tmp_path: Path, destination: str, status: int, says: str
) -> None:
    path = tmp_path / "egress.toml"
    path.write_text(
        'version = 1\n[[allow]]\ncidr = "0.0.0.0/8"\n'
        '[[allow]]\ncidr = "192.0.2.7"\n[local]\nlisteners = "any"\n'
    )

    done = run("policy", "explain", str(path), destination)

    assert done.returncode == status, done.stderr
    assert says in done.stdout


def test_verbose_shows_the_traceback(policy: str) -> None:
    done = run("policy", "check", "--verbose", policy + "x")

    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert f"error: {policy}x: No such file or directory" in done.stderr


def test_a_bad_policy_is_said_before_root_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "egress.toml").write_text("version = 3\n")

    done = run("watch", "--", "true", cwd=tmp_path)

    assert done.returncode == 125
    assert "egress.toml:1: version" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["egress.toml"]


@pytest.mark.parametrize(
    "redirected", [">/dev/full", "2>/dev/full", ">&-", "<&- >&- 2>&-", "2>&-"]
)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("policy", "check", "egress.toml"), 0),
        (("policy", "explain", "egress.toml", "evil.test:443"), 1),
        (("policy", "check", "nothing.toml"), 2),
        (("watch",), 125),
        (("--help",), 0),
        (("--version",), 0),
    ],
)
def test_what_cannot_be_printed_changes_no_status(
    policy: str, words: tuple[str, ...], status: int, redirected: str
) -> None:
    line = f"{shlex.join([*EGRESSMON, *words])} {redirected}"

    done = subprocess.run(
        ["bash", "-c", line], check=False, capture_output=True, cwd=Path(policy).parent
    )

    assert done.returncode == status, done.stderr


def test_a_user_without_standard_input_is_told_what_is_missing() -> None:
    line = f"{shlex.join([*EGRESSMON, 'watch', '--', 'true'])} <&-"
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]

    done = subprocess.run(
        [*(user if os.geteuid() == 0 else []), "bash", "-c", line],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
    )

    assert done.returncode in {0, 125}, done.stderr  # sudo may be allowed
    assert "NoneType" not in done.stderr
