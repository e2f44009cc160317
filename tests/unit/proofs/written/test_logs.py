"""What a process writes: bounded, without secrets, and waited for."""

import time

import pytest

from egressmon.proofs.written.logs import Log, matches

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"


def test_each_line_is_waited_for_once() -> None:
    log = Log()
    log.add(b"rea")
    assert not log.has_line("ready")
    log.add(b"dy 1\nready 2\n")

    assert log.has_line("ready")
    assert log.has_line("ready")
    assert not log.has_line("ready")


@pytest.mark.parametrize(
    ("pattern", "line", "wanted"),
    [
        ("ready", "is ready now", True),
        ("Ready", "is ready now", False),
        ("^ready", "is ready", False),
        ("^ready", "ready", True),
        ("^is*now", "is ready now", True),
        ("now*is", "is ready now", False),
        ("a*a", "a", False),
        ("(port 80) [ok].", "at (port 80) [ok].", True),
        ("^*now", "is ready now", True),
        ("*", "", True),
    ],
)
def test_a_pattern_is_a_text_with_gaps(
    pattern: str, line: str, *, wanted: bool
) -> None:
    assert matches(pattern, line) is wanted


def test_no_pattern_and_no_line_takes_long() -> None:
    began = time.process_time()

    for _ in range(100):
        assert not matches("a*" * 499 + "b", "a" * 4096)

    assert time.process_time() - began < 1


def test_a_log_is_bounded_and_without_secrets() -> None:
    log = Log()
    log.add(f"token {TOKEN}\n".encode())
    log.add(b"x" * (5 << 20))

    kept = log.sanitised()

    assert TOKEN.encode() not in kept
    assert len(kept) < (4 << 20) + 100
    assert b"bytes more are left out" in kept[-100:]
