"""A machine that is short of everything: nothing is lost without a count."""

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from support.lab import OTHER4
from support.watching import AGENT, LIMIT_S, WATCH, Json, Watched, read_evidence

Watch = Callable[..., Watched]
Build = Callable[[str], str]
pytestmark = pytest.mark.alone
MAX_MB = 100
PEAK = f"{AGENT}; grep VmHWM /proc/$agent/status"


def missing(end: Json) -> int:
    """Return how many events the run says that it has no record of."""
    losses = end["losses"]
    names = ("lost_flow", "lost_process", "unread", "unreadable")
    return sum(losses[name] for name in names)


def peak_mb(run: Watched) -> float:
    """Return the agent's peak memory, which the command printed last."""
    name, size, unit = run.stdout.split()[-3:]
    assert (name, unit) == ("VmHWM:", "kB")
    return int(size) / 1024


def is_honest(run: Watched) -> bool:
    """Tell whether the run says that it is incomplete if anything is missing."""
    return run.end["complete"] is (missing(run.end) == 0)


@pytest.fixture
def busy() -> Generator[None]:
    """Keep each processor busy with two loops."""
    loop = ["sh", "-c", "while :; do :; done"]
    loops = [Popen(loop) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


# Beside the loops, the agent and the keeper get a hundredth of a processor.
@pytest.mark.usefixtures("busy")
def test_an_agent_that_is_starved_counts_what_it_loses(
    watched: Watch, build: Build
) -> None:
    many = f"{build('connect')} {OTHER4} 9 burst 20000"
    script = f"{AGENT}; renice -n 19 -p $agent $PPID >&2; {many}"

    run = watched("sh", "-c", script, options=["--catch-up", "2s"])

    made = [one for one in run.of("connection") if one["dst"]["port"] == 9]
    assert len(made) <= 20_000 <= len(made) + missing(run.end)
    assert is_honest(run)
    canaries = run.end["canaries"]
    assert canaries["seen"] == canaries["sent"]


# It takes what is written byte by byte, from a pipe that holds a few records.
def test_a_slow_reader_of_the_evidence_gets_all_of_it(
    tmp_path: Path, build: Build
) -> None:
    os.mkfifo(tmp_path / "fifo")
    words = [*WATCH, "--evidence", "fifo", "--allow-incomplete", "--"]
    words += [build("connect"), "127.0.0.1", "9", "burst", "1000"]
    with Popen(words, cwd=tmp_path, stderr=PIPE) as process:
        with (tmp_path / "fifo").open("rb", buffering=0) as reader:
            data = b"".join(iter(lambda: reader.read(1), b""))
        assert process.wait(LIMIT_S) == 0

    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(data)
    records = read_evidence(copy)
    assert sum(one["type"] == "connection" for one in records) == 1000
    assert records[-1]["complete"] is True


@pytest.mark.long
def test_a_storm_of_processes_on_one_processor(watched: Watch, build: Build) -> None:
    script = f"{build('forks')} 20000; {PEAK}"

    run = watched("sh", "-c", script, through=("taskset", "-c", "0"))

    forks = len(run.of("process", event="fork"))
    assert forks + missing(run.end) >= 20_000
    assert is_honest(run)
    assert peak_mb(run) < MAX_MB


DESTINATIONS = """
import socket
for n in range(50_000):
    with socket.socket() as one:
        one.setblocking(False)
        one.connect_ex((f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}", 9))
"""
# Each function is a call site; its code and its frames are new to the agent.
CALL_SITES = """
import socket
def call():
    with socket.socket() as one:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", 9))
sites = {}
for n in range(5_000):
    exec(f"def site{n}():\\n call()", globals(), sites)
for turn in range(3):
    for site in sites.values():
        site()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("program", "count"),
    [(DESTINATIONS, 50_000), (CALL_SITES, 15_000)],
    ids=["destinations", "call sites"],
)
def test_what_never_repeats_is_recorded_or_counted(
    watched: Watch, tmp_path: Path, program: str, count: int
) -> None:
    (tmp_path / "client.py").write_text(program)
    script = f"{sys.executable} {tmp_path}/client.py; {PEAK}"

    run = watched("sh", "-c", script)

    made = [one for one in run.of("connection") if one["dst"]["port"] == 9]
    assert len(made) <= count <= len(made) + missing(run.end)
    assert is_honest(run)
    without = sum("did not fit" in str(one["code_reason"]) for one in made)
    assert without <= run.end["losses"]["missed_frames"]
    assert peak_mb(run) < MAX_MB
