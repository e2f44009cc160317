"""Feed a day of a busy CI machine to the stages of a run, and measure their memory.

sidecar_day.py [HOURS [LEVEL]]     print the resident memory after each of HOURS (24)

In an hour of 3,600 s there are 2 processes (fork, exec, exit), 4 connections and 1 DNS
look-up a second; one exit of 500 is lost, as by a full ring. There are 2,000 names, of
which some answers are new addresses each time. All hours are of the same seconds, one
after the other: what is kept fills up to its bounds, and must not grow from there. The
evidence goes nowhere, so that only what is kept counts.
"""

import gc
import ipaddress
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
sys.path.append(str(Path(__file__).parents[2] / "tests"))

from egressmon import files
from egressmon.clock import Clock
from egressmon.events.model import FLAG_INGRESS
from egressmon.evidence.writer import STDOUT, Evidence
from egressmon.policy.language.model import Policy
from egressmon.sensor.intake import Batch
from support.events import dns, event, flow
from support.replaying import RESOLVER, RUN, ProcessesGone, Replay

HOUR_S = 3600
PROCESSES, CONNECTIONS, LOOKUPS = 2, 4, 1
"""A second."""
NAMES = 2000
LOST_OF = 500
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST_PID, _PIDS = 1000, 30_000
_SECOND = 1_000_000_000


def main() -> None:
    """Print a line for each hour."""
    hours = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    level = sys.argv[2] if len(sys.argv) > 2 else "process"
    files.use(ProcessesGone())
    made = Replay(
        Path(os.devnull),
        "full" if level == "full" else "process",
        remembers=True,
        policy=Policy(version=1),
        evidence=_evidence,
    )
    made.pipeline.tracker.command = _FIRST_PID  # what stands for a command
    first = 0
    for second in range(hours * HOUR_S):
        made.pipeline.process(Batch([*_events(second)], [], 0))
        if second % 60 == 0:
            _tidy(made, second * _SECOND)
        if second == 60:
            first = _resident()
            _print("a minute", first, first, made)
        if (second + 1) % HOUR_S == 0:
            hour = (second + 1) // HOUR_S
            _print(f"{hour} h", _resident(), first, made)


def _evidence(clock: Clock) -> Evidence:
    nowhere = Path(os.devnull).open("wb", buffering=0)  # noqa: SIM115 -- kept
    return Evidence(nowhere, RUN, clock, None, 1 << 50, STDOUT)


# What a run that lasts does each minute; here all processes that ended are gone.
def _tidy(made: Replay, now: int) -> None:
    cast("Any", made.clock).now_ns = lambda: now
    made.pipeline.tidy(lambda pid: pid == _FIRST_PID)


def _print(when: str, resident: int, first: int, made: Replay) -> None:
    grown = (resident - first) / 1e6
    print(
        f"{when:>9}: {resident / 1e6:6.1f} MB, {grown:+5.1f} MB since the first "
        f"minute; {made.evidence.records} records, "
        f"{len(made.processes.alive())} processes",
        flush=True,
    )


def _resident() -> int:
    gc.collect()
    words = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(words[1]) * _PAGE


def _events(second: int) -> Iterator[bytes]:
    now = (second + 1) * _SECOND
    for one in range(PROCESSES):
        yield from _process(second * PROCESSES + one, now + one)
    for one in range(CONNECTIONS):
        number = second * CONNECTIONS + one
        yield flow(
            str(_address(number % NAMES, number)), 443, ktime_ns=now + 10 + one,
            tgid=_FIRST_PID, tid=_FIRST_PID, cookie=number, start_ns=1,
        )  # fmt: skip
    for one in range(LOOKUPS):
        yield from _look_up(second * LOOKUPS + one, now + 20 + one)


def _process(number: int, now: int) -> Iterator[bytes]:
    pid = _FIRST_PID + 1 + number % _PIDS
    known = {"tgid": pid, "parent": _FIRST_PID, "start_ns": now, "ktime_ns": now}
    yield event("process_event", "KIND_FORK", comm=b"sh", **known)
    words = b"".join(word + b"\0" for word in (b"cc", b"-c", b"%d.c" % number))
    size = len(words)
    yield event(
        "exec_event", "KIND_EXEC", words, comm=b"cc", path=b"/usr/bin/cc", exec_id=1,
        arguments_size=size, payload_size=size, inode=number % 300, device=1, **known,
    )  # fmt: skip
    if number % LOST_OF:
        yield event("process_event", "KIND_EXIT", comm=b"cc", **known)


# A fifth of the names has another address each time, as those of big services.
def _address(name: int, number: int) -> ipaddress.IPv4Address:
    place = name if name % 5 else number % 40_000 + NAMES
    return ipaddress.IPv4Address("198.18.0.0") + place


def _look_up(number: int, now: int) -> Iterator[bytes]:
    name = number % NAMES
    question = b"\x05name%c" % (97 + name % 26) + b"%c" % 6 + b"%06d" % name
    question += b"\x07example\x00" + struct.pack(">HH", 1, 1)
    head = struct.pack(">HHHHHH", number % 65536, 0x0100, 1, 0, 0, 0)
    yield dns(RESOLVER, head + question, cookie=number + 1, ktime_ns=now)
    answer = struct.pack(">HHHHHH", number % 65536, 0x8180, 1, 1, 0, 0) + question
    answer += struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4)
    answer += _address(name, number).packed
    yield dns(RESOLVER, answer, cookie=number + 1, ktime_ns=now + 1, flags=FLAG_INGRESS)


if __name__ == "__main__":
    main()
