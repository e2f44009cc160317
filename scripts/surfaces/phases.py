"""What a run touched, by phase, as its evidence says."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

START = "start"
"""What comes before the first mark."""


class EvidenceError(Exception):
    """The evidence cannot tell what a run touched."""


@dataclass(frozen=True)
class Mark:
    """When a phase began, in nanoseconds since 1970."""

    phase: str
    ns: int


@dataclass
class Touched:
    """What one phase touched; all in words for a table."""

    reached: set[str] = field(default_factory=set[str])
    """Destinations, such as `api.example.org:443/tcp`; resolvers are left out."""
    looked_up: dict[str, set[str]] = field(
        default_factory=lambda: defaultdict[str, set[str]](set)
    )
    """The kinds of look-ups of each name."""
    by: set[str] = field(default_factory=set[str])
    """Packages with versions that connected, and by which route."""
    started: set[str] = field(default_factory=set[str])
    """Programs that it started."""


def read(evidence: Iterable[str], marks: Sequence[Mark]) -> dict[str, Touched]:
    """Return what each phase touched; every mark has an entry.

    A record counts to the phase in which it happened, by the clock of the kernel; the
    marks are by the program's own, which is the same. Raises EvidenceError if the run
    is incomplete.
    """
    phases = {mark.phase: Touched() for mark in (Mark(START, 0), *marks)}
    records = [json.loads(line) for line in evidence]
    if not records or records[-1]["type"] != "run.end":
        raise EvidenceError("the run has no end")
    if reasons := records[-1]["incomplete_reasons"]:
        raise EvidenceError(f"the run is incomplete: {reasons}")
    packages = _packages(records)
    programs = 0
    for record in records:
        phase = phases[_phase(record, marks)]
        if record["type"] == "process" and record["event"] == "exec":
            programs += 1
            if programs > 1:  # the first is the program itself
                phase.started.add(" ".join(record["argv"]))
        elif record["type"] == "dns":
            phase.looked_up[record["name"]].add(str(record["kind"]))
        elif record["type"] == "connection" and record["rule"] != "dns.resolvers":
            phase.reached.add(_destination(record))
            phase.by.add(f"{_who(record, packages)}, {record['route']}")
    return phases


def _packages(records: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the package of each module and program that the evidence knows."""
    return {
        record["digest"]: f"{record['package']['name']}"
        for record in records
        if record["type"] in {"module", "actor"} and record.get("package")
    }


def _who(record: dict[str, Any], packages: dict[str, str]) -> str:
    code = record["code"]
    if code is not None and code["package"] is not None:
        return f"{code['package']['name']} {code['package']['version']}"
    module = record["module"]
    if module is not None and module["digest"] in packages:
        return packages[module["digest"]]
    return "unknown" if record["process"] is None else str(record["process"]["comm"])


def _destination(record: dict[str, Any]) -> str:
    peer = record["dst"]
    host = peer["names"][0]["name"] if peer["names"] else peer["ip"]
    port = "" if peer["port"] is None else f":{peer['port']}"
    return f"{host}{port}/{record['protocol']}"


def _phase(record: dict[str, Any], marks: Sequence[Mark]) -> str:
    happened = _ns(record["time"])
    begun = [mark.phase for mark in marks if mark.ns <= happened]
    return begun[-1] if begun else START


def _ns(time: str) -> int:
    whole, _, fraction = time.removesuffix("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
