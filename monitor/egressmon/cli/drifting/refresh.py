"""`egressmon cassettes refresh`: record anew, without secrets; say what to review."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from egressmon.cassettes.drift import Change, cassettes_at, drift
from egressmon.cassettes.loading import MAX_BYTES
from egressmon.cassettes.pins import locked
from egressmon.cassettes.settings import is_ci, near, read_settings
from egressmon.cli.drifting.cassettes import examine, lock_one
from egressmon.cli.requests import RefreshRequest
from egressmon.errors import UsageError
from egressmon.files.bounded import read_bounded
from egressmon.reports.findings.drifts import drift_report
from egressmon.startup import environment
from egressmon.text import printable

_OPTIONS = ("--record-mode=rewrite", "--egress-cassettes")
_FLAG = "--i-understand-this-spends-tokens"
_PYTEST = frozenset({"pytest", "py.test"})
_BAD_USAGE, _NO_TESTS = 4, 5  # pytest.ExitCode


def refresh(request: RefreshRequest) -> int:
    """Record, scan and lock; return the exit status. Raises UsageError."""
    variables = _variables()
    _require_sense(request, variables)
    before = _folders(request)
    with tempfile.TemporaryDirectory(prefix="egressmon-") as kept:
        copies = {folder: _copy(folder, kept) for folder in before}
        pins = {folder: locked(folder) for folder in before}
        code = _run([*request.command, *_OPTIONS], variables)
        after = _folders(request)
        status = _end(code, after)
        for folder in after:
            _print_review(folder, pins.get(folder, {}), copies.get(folder))
    return status


def _require_sense(request: RefreshRequest, variables: dict[str, str]) -> None:
    if not request.spend:
        raise UsageError(
            "this asks the real services, which costs money, and writes what they say "
            "into your project",
            f"if that is what you want: egressmon cassettes refresh {_FLAG} -- pytest "
            "...",
        )
    if not any(Path(word).name in _PYTEST for word in request.command):
        raise UsageError(
            "no pytest is called after `--`",
            f"egressmon cassettes refresh {_FLAG} -- pytest [ARGUMENT...]",
        )
    if is_ci(variables):
        raise UsageError(
            "CI is set: nothing is recorded on a CI system",
            "record on your own machine, and have the cassettes reviewed",
        )
    if "SUDO_UID" in variables:
        raise UsageError(
            "through sudo, your tests would run as root", "run it as yourself"
        )


# As the caller has them: a launcher and root's own start change some.
def _variables() -> dict[str, str]:
    found = environment.variables(environment.original())
    return {os.fsdecode(name): os.fsdecode(value) for name, value in found.items()}


def _folders(request: RefreshRequest) -> list[str]:
    if request.directories:
        return [one for one in request.directories if Path(one).is_dir()]
    return [near(one) for one in read_settings(Path.cwd()).folders()]


def _copy(folder: str, kept: str) -> str:
    copy = Path(tempfile.mkdtemp(dir=kept))
    for name, path in cassettes_at(folder).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(read_bounded(path, MAX_BYTES) or b"")
    return str(copy)


# Ctrl-C is for pytest, which ends in its own way; what it recorded is still scanned.
def _run(command: list[str], variables: dict[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env=variables)  # noqa: S603 -- asked for
    except OSError as error:
        raise UsageError(
            f"{command[0]} cannot be run: {error.strerror}", "see whether it is there"
        ) from error
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _end(code: int, after: list[str]) -> int:
    if code == 0 and after:
        return max(map(lock_one, after))
    why = {
        0: "nothing was recorded: there is no folder of cassettes",
        _BAD_USAGE: "pytest did not start: if it does not know --egress-cassettes, "
        "install egressmon[cassettes] beside it",
        _NO_TESTS: "no test was run",
    }.get(code, f"pytest ended with {code}")
    for folder in after:
        examine(folder)
    _print(f"not locked: {why}")
    return 1


def _print(line: str) -> None:
    sys.stdout.write(f"{printable(line, 2000)}\n")


def _print_review(folder: str, pins: dict[str, str], copy: str | None) -> None:
    now = locked(folder)
    for path in sorted({*pins, *now}):
        if pins.get(path) != now.get(path):
            is_new, is_gone = path not in pins, path not in now
            word = "new" if is_new else "gone" if is_gone else "changed"
            _print(f"review: {word}: {Path(folder, path)}")
    if copy is None:
        return
    report = drift_report("text", folder, sys.stdout, sys.stdout)
    for found in drift(copy, folder):
        if isinstance(found, Change):
            report.change(found)
        else:
            report.unreadable(found)
    report.end()
