"""Feed a day of a busy CI machine to the stages of a run, and measure their memory.

sidecar_day.py [HOURS [LEVEL [POLICY [kept]]]]   print what memory is resident

HOURS is 24 by default, LEVEL `process` or `full`. POLICY is `most` (by default: it
covers 19 of 20 names) or `nothing`, which makes all that happens a violation. `kept`
also lists what is kept, at the end.

In an hour of 3,600 s there are 2 processes (fork, exec, exit), 4 connections and 1 DNS
look-up a second. One process of the two looks a name up, and makes half of the
connections; a process that lasts makes the others. They go to the names that were
looked up in the last minute and a half. There are 2,000 names, one after the other; a
fifth has a new address at each look-up, a third has an alias; answers hold for 60 s.
One exit of 500 is lost, as by a full ring. All seconds are of the same kind, the first
ones too: what grows later is what is kept of them. The evidence goes nowhere.
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
sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2] / "tests"))

from egressmon import files
from egressmon.clock import Clock
from egressmon.events.model import FLAG_INGRESS
from egressmon.evidence.writer import STDOUT, Evidence
from egressmon.policy.language.model import Policy
from egressmon.sensor.intake import Batch
from kept import containers
from support.events import dns, event, flow
from support.replaying import RESOLVER, RUN, ProcessesGone, Replay

HOUR_S = 3600
PROCESSES, CONNECTIONS, LOOKUPS = 2, 4, 1
"""A second."""
NAMES = 2000
APART = 30
"""How many look-ups lie between two connections of a second."""
LOST_OF = 500
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST_PID, _PIDS = 1000, 30_000
_SECOND = 1_000_000_000
_MOST = Policy.model_validate({"version": 1, "allow": [{"host": "**.ours.example"}]})


def main() -> None:
    """Print a line for each hour."""
    hours = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    level = sys.argv[2] if len(sys.argv) > 2 else "process"
    policy = _MOST if sys.argv[3:4] != ["nothing"] else Policy(version=1)
    files.use(ProcessesGone())
    made = Replay(
        Path(os.devnull),
        "full" if level == "full" else "process",
        remembers=True,
        policy=policy,
        evidence=_evidence,
    )
    made.pipeline.tracker.command = _FIRST_PID  # what stands for a command
    made.canaries.netns = 1
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
    if sys.argv[4:5] == ["kept"]:
        _print_kept(made)


def _print_kept(made: Replay) -> None:
    for place, size, total in sorted(containers(made), key=lambda one: -one[2]):
        print(f"{total / 1024:8.0f} KiB  {size:7}  {place}")


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
    if not second:
        yield from _begun(_FIRST_PID, now)
    pid = _pid(second * PROCESSES)
    for one in range(PROCESSES):
        yield from _begun(_pid(second * PROCESSES + one), now + one)
    for one in range(LOOKUPS):
        number = second * LOOKUPS + one
        yield from _look_up(number, now + 10 + 2 * one, pid, now)
    for one in range(CONNECTIONS):
        who, began = (pid, now) if one % 2 else (_FIRST_PID, _SECOND)
        yield flow(
            str(_address(max(0, second * LOOKUPS - one * APART))), 443,
            ktime_ns=now + 20 + one, tgid=who, tid=who, start_ns=began, exec_id=1,
            cookie=second * CONNECTIONS + one,
        )  # fmt: skip
    for one in range(PROCESSES):
        number = second * PROCESSES + one
        if (number + 1) % LOST_OF:
            yield event(
                "process_event", "KIND_EXIT", comm=b"cc", tgid=_pid(number),
                parent=_FIRST_PID, start_ns=now + one, ktime_ns=now + 30 + one,
            )  # fmt: skip


def _pid(number: int) -> int:
    return _FIRST_PID + 1 + number % _PIDS


def _begun(pid: int, now: int) -> Iterator[bytes]:
    known = {"tgid": pid, "parent": _FIRST_PID, "start_ns": now, "ktime_ns": now}
    yield event("process_event", "KIND_FORK", comm=b"sh", **known)
    words = b"".join(word + b"\0" for word in (b"cc", b"-c", b"%d.c" % now))
    size = len(words)
    yield event(
        "exec_event", "KIND_EXEC", words, comm=b"cc", path=b"/usr/bin/cc", exec_id=1,
        arguments_size=size, payload_size=size, inode=pid % 300, device=1, **known,
    )  # fmt: skip


# By the number of the look-up: a fifth of the names has another address each time, as
# those of big services.
def _address(number: int) -> ipaddress.IPv4Address:
    name = number % NAMES
    place = name if name % 5 else number % 40_000 + NAMES
    return ipaddress.IPv4Address("198.18.0.0") + place


def _look_up(number: int, now: int, pid: int, began: int) -> Iterator[bytes]:
    name = number % NAMES
    kind = struct.pack(">HH", 1, 1)
    top = b"\x05other\x07example\0" if name % 20 == 7 else b"\x04ours\x07example\0"
    question = b"\x06n%05d" % name + top + kind
    who = {"tgid": pid, "tid": pid, "start_ns": began, "exec_id": 1}
    head = struct.pack(">HHHHHH", number % 65536, 0x0100, 1, 0, 0, 0)
    yield dns(RESOLVER, head + question, cookie=number + 1, ktime_ns=now, **who)
    records: list[bytes] = []
    owner = b"\xc0\x0c"  # of the name at 12: the question's
    if name % 3 == 0:
        alias = b"\x06a%05d" % name + b"\x03cdn\0"
        records.append(owner + struct.pack(">HHIH", 5, 1, 60, len(alias)))
        records[0] += alias
        owner = alias
    address = struct.pack(">HHIH", 1, 1, 60, 4) + _address(number).packed
    records.append(owner + address)
    answer = struct.pack(">HHHHHH", number % 65536, 0x8180, 1, len(records), 0, 0)
    answer += question + b"".join(records)
    yield dns(
        RESOLVER, answer, cookie=number + 1, ktime_ns=now + 1, flags=FLAG_INGRESS, **who
    )


if __name__ == "__main__":
    main()
