"""Times of a run go on when somebody sets the clock, and are the kernel's."""

import argparse
import re
import time
from pathlib import Path

import pytest

from egressmon import clock
from egressmon.cli.options.values import size
from egressmon.clock import Clock, seconds
from egressmon.probes import engine

SECOND = 1_000_000_000


@pytest.mark.parametrize("jump", [-(10**6), 10**6])
def test_a_clock_that_is_set_changes_no_order(
    monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    made = Clock()
    began = made.now_ns()
    texts = [made.rfc3339(began)]
    present = time.time_ns

    monkeypatch.setattr(time, "time_ns", lambda: present() + jump * SECOND)
    ended = made.now_ns()
    texts.append(made.rfc3339(ended))

    assert 0 <= ended - began < 60 * SECOND
    assert texts == sorted(texts)


@pytest.mark.parametrize(
    ("offsets", "ahead"),
    [
        ("monotonic           5         0\nboottime      1000000       250\n", 10**15),
        (
            "monotonic           5         0\nboottime        -3000         0\n",
            -3 * 10**12,
        ),
        (None, 0),
    ],
    ids=["ahead", "behind", "an old kernel"],
)
def test_a_time_namespace_is_taken_into_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offsets: str | None, ahead: int
) -> None:
    file = tmp_path / "timens_offsets"
    if offsets is not None:
        file.write_text(offsets)
    monkeypatch.setattr(clock, "_OFFSETS", file)
    clock.ahead_ns.cache_clear()

    found = clock.ahead_ns()

    clock.ahead_ns.cache_clear()
    assert found // 1000 == ahead // 1000


# All else takes its time from these: nobody who sets the clock changes an order, a
# duration or how long the run goes on.
def test_few_modules_read_the_clock_that_can_be_set() -> None:
    reads = re.compile(r"\btime\.time(_ns)?\(|datetime\.now\(|CLOCK_REALTIME\b")
    roots = [Path(clock.__file__).parent, Path(engine.__file__).parent]

    found = {
        path.name
        for root in roots
        for path in root.rglob("*.py")
        if reads.search(path.read_text())
    }

    # stopped.py: GitLab wants the time of a section in its log. ledger.py: many
    # processes write the guard's ledger, which has no run and so no beginning. The
    # rest need the date: of a review, and whether a certificate or a night is too old.
    assert found == {
        "clock.py",
        "beginning.py",
        "run.py",
        "stopped.py",
        "ledger.py",
    } | {
        "baseline.py",
        "layers.py",
        "handshaking.py",
        "tls.py",
    }


@pytest.mark.parametrize("text", ["\uff11s", "\u0663m", "1\u0660m", "1.\u0665h"])
def test_a_duration_is_of_the_digits_that_everybody_reads(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        seconds(text)
    with pytest.raises(argparse.ArgumentTypeError):
        size(f"{text[0]}MB" if text[0] != "1" else f"{text[:-1]}kB")
