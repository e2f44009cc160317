"""What the kernel saw around the guard, by test: read from the evidence of this run.

A watched command is told nothing of its run, and has no channel to it. But it knows the
name of its own cgroup, and the evidence is a file that grows, which often lies where
the command runs and may be read by it. So nothing is asked of the agent: where the file
isn't found, the report says where else to look. Whatever is in it is bounded and
escaped: another test could have written it.
"""

import io
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from egressmon.guard.violation import shown
from egressmon.testing.descent import Descent
from egressmon.text import printable

_FOLDER = ".egressmon"
_OWN_CGROUP = Path("/proc/self/cgroup")
_SCOPE = re.compile(r"egressmon-\d+-[0-9a-f]+")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_LINE = 1 << 20
_MAX_BYTES = 64 << 20
_MAX_FILES = 20
_MAX_OF_RUN = 4
_MAX_LINES = 50
_MAX_KEPT = 10_000
_WAIT_S = 3.0
_ELSEWHERE = "egressmon's own summary, below, says what went around the guard"
_NOTHING = "the kernel saw no connection around the guard"
_UNREAD = "watched, but the run's evidence could not be read to its end: "
OUTSIDE = "outside of tests"


def scope() -> str | None:
    """Return the name of the cgroup of the run that watches us; None: of none."""
    try:
        text = _OWN_CGROUP.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("0::"):
            found = [one for one in line.split("/") if _SCOPE.fullmatch(one)]
            return found[-1] if found else None
    return None


def told(places: Iterable[Path]) -> list[str]:
    """Return lines that say what went around the guard; none where nobody watches.

    The run's evidence is looked for in `places`, and above them in `.egressmon`.
    """
    name = scope()
    if name is None:
        return []
    paths = list(islice(evidence_of(name, places), _MAX_OF_RUN))
    if not paths:
        return [f"watched, but the run's evidence is not found here: {_ELSEWHERE}"]
    data, is_whole = _settled(paths)
    if is_whole:
        return lines_of(data)
    lines = lines_of(data, nothing=())
    return [
        *lines,
        f"perhaps not all: {_ELSEWHERE}" if lines else f"{_UNREAD}{_ELSEWHERE}",
    ]


def evidence_of(name: str, places: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that say to be evidence of the run with the cgroup `name`.

    One is at the most: who knows the name can have written the others.
    """
    for folder in _folders(places):
        try:
            found = sorted(folder.glob("*.jsonl"), reverse=True)
        except OSError:
            continue
        for path in found[:_MAX_FILES]:
            if _is_of(name, path):
                yield path


def _folders(places: Iterable[Path]) -> Iterator[Path]:
    given = list(dict.fromkeys(places))
    above = dict.fromkeys(one for place in given for one in (place, *place.parents))
    yield from (one / _FOLDER for one in above)
    yield from given


def _is_of(name: str, path: Path) -> bool:
    with _opened(path) as file:
        record = _record(file.readline(_MAX_LINE))
    if record.get("type") != "run.start":
        return False
    return str(record.get("scope")).rpartition("/")[2] == name


def _opened(path: Path) -> IO[bytes]:
    with suppress(OSError):
        file = os.fdopen(os.open(path, _READ), "rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    return io.BytesIO()


# The agent writes events in their order. So once it has written of a process that began
# just now, it has written of what was before. A file in which that never comes to be
# written is not the agent's, or it is behind.
def _settled(paths: list[Path]) -> tuple[bytes, bool]:
    begun = _begun()
    until = time.monotonic() + _WAIT_S
    with ExitStack() as opened:
        files = [opened.enter_context(_opened(path)) for path in paths]
        read = [bytearray() for _ in files]
        while True:
            for file, data in zip(files, read, strict=True):
                before = max(len(data) - _MAX_LINE, 0)
                data.extend(file.read(_MAX_BYTES - len(data)))
                if begun is not None and begun.search(data, before) is not None:
                    return bytes(data), True
            is_full = all(len(data) >= _MAX_BYTES for data in read)
            if begun is None or is_full or time.monotonic() >= until:
                return b"\n".join(read), False
            time.sleep(0.02)


def _begun() -> re.Pattern[bytes] | None:
    try:
        with subprocess.Popen([sys.executable, "-I", "-c", ""]) as child:
            child.kill()  # that it began is enough
    except (OSError, subprocess.SubprocessError):
        return None
    return re.compile(rb'"type":"process",[^\n]*"pid":%d,[^\n]*\n' % child.pid)


def lines_of(
    evidence: bytes, nothing: Sequence[str] = (_NOTHING,), pid: int | None = None
) -> list[str]:
    """Return lines that say, by test, which connections went around the guard.

    `nothing` is said where none did. Those of processes that are known not to come from
    process `pid` (by default this one) are others' affair, and only counted.
    """
    found: Counter[str] = Counter()
    unknown = left_out = others = 0
    for record, is_others in _unguarded(evidence, os.getpid() if pid is None else pid):
        if record["guard"] == "unknown":
            unknown += not is_others
        elif is_others:
            others += 1
        elif (said := _said(record)) in found or len(found) < _MAX_KEPT:
            found[said] += 1
        else:
            left_out += 1
    lines = [f"{said} ({count} times)" for said, count in found.items()][:_MAX_LINES]
    left_out += found.total() - sum(list(found.values())[:_MAX_LINES])
    if not found:
        lines = list(nothing)
    if left_out:
        lines.append(f"{left_out} more connections around the guard: {_ELSEWHERE}")
    if unknown:
        lines.append(
            f"{unknown} connections of which the kernel's evidence cannot tell"
        )
    if others:
        lines.append(
            f"{others} connections around a guard by what this pytest did not start: "
            f"{_ELSEWHERE}"
        )
    return lines


# The connections that went around the guard, or perhaps did, and whether they are known
# to be of processes that do not come from process `pid`.
def _unguarded(evidence: bytes, pid: int) -> Iterator[tuple[dict[str, Any], bool]]:
    descent = Descent(pid, evidence)
    for line in evidence.split(b"\n"):
        if b'"type":"process"' in line:
            descent.add(line)
        if b'"type":"connection"' not in line:
            continue
        record = _record(line)
        if str(record.get("guard")) in {"unknown", "bypassed"}:
            yield record, descent.is_others(_part(record, "process").get("pid"))


def _said(record: dict[str, Any]) -> str:
    code, destination = _part(record, "code"), _part(record, "dst")
    name = _first_name(destination.get("names"))
    port = destination.get("port")
    where = shown(
        str(name or destination.get("ip")), port if isinstance(port, int) else None
    )
    who = str(record.get("guard_reason"))
    if code.get("function") is not None:
        who += f"; {code.get('file')}:{code.get('line')} in {code['function']}"
    test = printable(str(code.get("test") or OUTSIDE), 1000)
    return (
        f"{test}: around the guard, seen by the kernel: "
        f"{printable(where)}/{printable(str(record.get('protocol')))} "
        f"({printable(who, 500)})"
    )


def _first_name(names: Any) -> object:
    try:
        return names[0]["name"]
    except (TypeError, LookupError):
        return None


def _part(record: dict[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
