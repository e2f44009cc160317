"""What the kernel's evidence and a guard's ledger say of connections, in one form.

Both are files that anybody may have written: what is of another form is told of, and
the reading goes on.
"""

import ipaddress
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import orjson

from egressmon.errors import UsageError
from egressmon.evidence.gate import MAX_RECORD
from egressmon.reading.lines import LineError, lines_of
from egressmon.reading.values import Values
from egressmon.values import dataclass, field

Json = dict[str, Any]
# What reading a line of another form can raise.
_ODD = (LineError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
_MAX = 1_000_000
_MAX_KNOWN = 100_000
_MADE = frozenset({"connect", "send", "packet"})
_VERDICTS = {"allowed": False, "local": False, "violation": True}
"""Whether the guard refused it."""
_TOLD_OF = frozenset({"child", "call", "lookup", "pointer"})
"""What the guard tells of that is no connection."""
_MAX_PID = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h


_Said = TypeVar("_Said")


class Key(NamedTuple):
    """What both files say of a connection in the same words."""

    pid: int
    """As the process itself knows it."""
    address: str
    port: int


class Seen(NamedTuple):
    """A connection that the kernel saw, or a decision of the guard's."""

    at: float
    """Seconds since 1970."""
    key: Key
    is_refused: bool
    """A decision by which the connection was not to be made."""
    by: str
    """Who made it, for people."""
    name: str
    """The host name of the peer; "" if there is none."""
    names: tuple[str, ...] = ()
    """All names of the peer, by one of which it may have been asked for."""
    went_around: bool = False
    """The kernel's evidence has it that no guard was asked about it."""


@dataclass(slots=True)
class Sightings:
    """All that one side saw."""

    seen: list[Seen] = field(default_factory=list[Seen])
    problems: list[str] = field(default_factory=list[str])
    """Why they are not all."""
    _known: dict[object, object] = field(default_factory=dict[object, object])
    """What was said lately: it is said again and again, and kept once."""

    def add(self, one: Seen) -> None:
        """Add `one`; raises UsageError if there are too many."""
        if len(self.seen) >= _MAX:
            raise UsageError(
                f"there are more than {_MAX} connections", "compare one run at a time"
            )
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        again = self._once
        self.seen.append(
            one._replace(
                key=again(one.key),
                by=again(one.by),
                name=again(one.name),
                names=again(one.names),
            )
        )

    def _once(self, value: _Said) -> _Said:
        return cast("_Said", self._known.setdefault(value, value))


def from_evidence(path: str) -> Sightings:
    """Return what the evidence at `path` says that processes connected to.

    Raises UsageError if it cannot be read.
    """
    found, values, end = Sightings(), Values(), None
    for line in lines_of(path):
        try:
            record = values.resolve(line.record(), line.data)
            if record["type"] == "run.end":
                end = record
            if record["type"] == "connection" and (seen := _connection(record)):
                found.add(seen)
        except _ODD as error:
            what = error if isinstance(error, LineError) else "is no record of its kind"
            found.problems.append(f"{path}: line {line.number} {what}")
    found.problems += [f"{path}: {why}" for why in _doubts(end)]
    return found


def _doubts(end: Json | None) -> Iterator[str]:
    if end is None:
        yield "the run has no end: nobody knows what is missing"
        return
    if end.get("complete") is True:
        return
    reasons = end.get("incomplete_reasons")
    given = cast("list[object]", reasons) if isinstance(reasons, list) else []
    listed = [one for one in given if isinstance(one, str)]
    yield f"the run is incomplete: {'; '.join(listed[:3]) or 'it does not say why'}"


# Without a process nobody can be asked; a helper's is counted where it was begun.
def _connection(record: Json) -> Seen | None:
    process = record["process"]
    if record["op"] not in _MADE or process is None or record.get("relayed"):
        return None
    dst, names = record["dst"], record["dst"]["names"]
    pid = process.get("pid_inside") or process["pid"]
    return Seen(
        _seconds(record["time"]),
        _key(pid, dst["ip"], dst["port"]),
        is_refused=False,
        by=_maker(record, process),
        name=str(names[0]["name"]) if names else "",
        names=tuple(str(one["name"]) for one in names),
        went_around=record.get("guard") == "bypassed",
    )


def _maker(record: Json, process: Json) -> str:
    program = str(process.get("exe") or "").rpartition("/")[2]
    program = program or str(process.get("comm") or "unknown")
    module = _within(record, "module")
    if record["route"] in {"python-socket", "executable"} or not module:
        return program
    file = _within(module, "binding") or _within(module, "caller")
    name = str(file.get("path") or "code in no file").rpartition("/")[2]
    package = _within(file, "package").get("name")
    return f"{program}: {name} ({package})" if package else f"{program}: {name}"


def _within(record: Json, name: str) -> Json:
    found = record.get(name)
    return cast("Json", found) if isinstance(found, dict) else {}


def from_ledgers(paths: list[str]) -> Sightings:
    """Return the decisions in the ledgers at `paths`.

    Look-ups, which have no address, are left out. Raises UsageError if one cannot be
    read.
    """
    found = Sightings()
    for path in paths:
        if _is_empty(path):
            continue  # nobody asked
        for line in lines_of(path):
            try:
                seen = _decision(_object(line.data))
            except _ODD as error:
                what = error if isinstance(error, LineError) else "is no decision"
                found.problems.append(f"{path}: line {line.number} {what}")
                continue
            if seen is not None:
                found.add(seen)
    return found


def _is_empty(path: str) -> bool:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return False  # what it is, opening it says
    return stat.S_ISREG(found.st_mode) and not found.st_size


def _object(data: bytes) -> Json:
    if len(data) > MAX_RECORD:
        raise LineError(f"is longer than a record may be ({MAX_RECORD} bytes)")
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise LineError("is no decision")
    return cast("Json", found)


def _decision(entry: Json) -> Seen | None:
    if entry["kind"] in _TOLD_OF:
        return None
    address = entry["address"]
    where = _key(entry["pid"], "::" if address is None else address, entry["port"])
    if address is None:  # it is judged by its name alone
        where = where._replace(address=_name(entry["host"]))
    return Seen(
        _seconds(entry["time"]),
        where,
        is_refused=_VERDICTS[entry["verdict"]],
        by=str(entry.get("caller") or "unknown"),
        name=str(entry.get("host") or ""),
    )


# An unspecified address is one of this machine's, as the kernel has it: ip(7).
def _key(pid: object, address: object, port: object) -> Key:
    port = 0 if port is None else port
    if type(pid) is not int or type(port) is not int or not 0 < pid <= _MAX_PID:
        raise ValueError(pid, port)
    one = ipaddress.ip_address(str(address).partition("%")[0])
    if one.version == 6 and one.ipv4_mapped is not None:
        one = one.ipv4_mapped
    if one.is_unspecified:
        one = ipaddress.ip_address("127.0.0.1" if one.version == 4 else "::1")
    return Key(pid, str(one), port)


def _name(text: object) -> str:
    if not isinstance(text, str) or not text:
        raise ValueError(text)
    return text


def _seconds(text: object) -> float:
    found = datetime.fromisoformat(str(text))
    if found.tzinfo is None:
        raise ValueError(text)
    return found.timestamp()
