"""An in-toto Statement about evidence, to be signed: all that it has, by digest.

The predicate is a runtime trace, version 0.1. Its entries for the network have the
names that version 0.2 recommends: https://github.com/in-toto/attestation,
spec/predicates.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blake3 import blake3

from egressmon.evidence.manifest import MANIFEST
from egressmon.files.bounded import open_regular
from egressmon.locking import EVIDENCE_LOCK, Lock, read_lock
from egressmon.reading.lines import LineError, lines_of
from egressmon.reading.values import Values
from egressmon.verifying.findings import Verified

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/runtime-trace/v0.1"
MONITOR = "urn:egressmon:monitor"
_PROCESS = "urn:egressmon:watched-command"
_MAX_ENTRIES = 10_000
"""How many different processes or peers are listed; how many more is said."""
_PIECE = 1 << 20
Json = dict[str, Any]


class Trace:
    """What several files of evidence say, each thing once, with how often."""

    def __init__(self) -> None:
        self._starts: list[Json] = []
        self._ends: list[Json] = []
        self._peers: Counter[tuple[Any, ...]] = Counter()
        self._programs: Counter[tuple[Any, ...]] = Counter()
        self._left_out = 0

    def read(self, path: str) -> None:
        """Add the records in the file `path`."""
        values = Values()
        for line in lines_of(path):
            try:
                self._add(values.resolve(line.record(), line.data))
            except LineError:
                continue  # `verify` told of it

    def _add(self, record: Json) -> None:
        match record["type"]:
            case "run.start":
                self._starts.append(record)
            case "run.end":
                self._ends.append(record)
            case "connection":
                self._count(self._peers, _peer(record))
            case "process" if record["event"] == "exec":
                words = tuple(record["argv"] or ())
                self._count(self._programs, (record["exe"], words, record["uid"]))
            case _:
                pass

    def _count(self, counts: Counter[tuple[Any, ...]], key: tuple[Any, ...]) -> None:
        if key in counts or len(counts) < _MAX_ENTRIES:
            counts[key] += 1
        else:
            self._left_out += 1

    def predicate(self, files: Iterable[Verified]) -> Json:
        """Return the predicate; `files` are those that were read."""
        first = self._starts[0] if self._starts else {}
        return {
            "monitor": {
                "type": MONITOR,
                "configSource": _policy(first),
                "tracePolicy": _how(first),
            },
            "monitoredProcess": {
                "hostID": f"urn:egressmon:host:{first.get('host')}",
                "type": _PROCESS,
                "event": " ".join(str(one["run"]) for one in self._starts),
            },
            "monitorLog": {
                "process": [_program(key, n) for key, n in self._programs.items()],
                "network": [_entry(key, n) for key, n in self._peers.items()],
            },
            "metadata": {
                "buildStartedOn": _second(self._starts, min),
                "buildFinishedOn": _second(self._ends, max),
            },
            "egressmon": {
                "runs": [_run(one) for one in files],
                "entriesLeftOut": self._left_out,
            },
        }


def statement(path: str, files: list[Verified]) -> Json:
    """Return the Statement about the `files`, which were verified at `path`.

    A directory's lock is a subject, too: it has the digests of all else there. Raises
    OSError and LockError if a subject cannot be read.
    """
    trace = Trace()
    for file in files:
        for one in (file.path, *file.more):
            if not one.endswith(MANIFEST):
                trace.read(one)
    predicate = trace.predicate(files)
    subjects = [path for one in files for path in (one.path, *one.more)]
    is_folder = os.path.isdir(path)  # noqa: PTH112 -- as `verify` asks
    top = Path(path) if is_folder else Path(path).parent
    lock = str(top / EVIDENCE_LOCK)
    if is_folder and os.path.lexists(lock):
        subjects.insert(0, lock)
        predicate["egressmon"]["lock"] = _locked(read_lock(lock))
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": str(Path(one).relative_to(top)), "digest": _digests(one)}
            for one in subjects
        ],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def _locked(lock: Lock) -> Json:
    return {
        "files": dict(lock.files),
        "policy": lock.policy.digest if lock.policy else None,
        "plan": lock.plan.digest if lock.plan else None,
        "tools": dict(lock.tools),
    }


def _digests(path: str) -> dict[str, str]:
    whole, other = hashlib.sha256(), blake3()
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            whole.update(piece)
            other.update(piece)
    return {"sha256": whole.hexdigest(), "blake3": other.hexdigest()}


def _policy(start: Json) -> Json | None:
    digest = start.get("policy_digest")
    if not isinstance(digest, str):
        return None
    kind, _, value = digest.partition(":")
    return {"name": start.get("policy"), "digest": {kind: value}}


def _how(start: Json) -> Json:
    names = ("egressmon", "engine", "enforce", "resolvers", "hooks", "attribution")
    spots = [one["name"] for one in start.get("blind_spots", [])]
    return {name: start.get(name) for name in names} | {"blindSpots": spots}


def _peer(record: Json) -> tuple[Any, ...]:
    dst: Json = record["dst"]
    process: Json = record["process"] or {}
    name = dst["names"][0]["name"] if dst["names"] else None
    return (
        dst["ip"], name, dst["port"], record["protocol"], record["op"],
        record["verdict"], record["rule"], process.get("exe"),
    )  # fmt: skip


def _entry(key: tuple[Any, ...], count: int) -> Json:
    ip, name, port, protocol, op, verdict, rule, exe = key
    found = {"ip": ip, "hostname": name, "port": port, "protocol": protocol}
    found |= {"invokingProcess": {"exe": exe}, "operation": op, "verdict": verdict}
    found |= {"rule": rule, "count": count}
    return {name: value for name, value in found.items() if value is not None}


def _program(key: tuple[Any, ...], count: int) -> Json:
    exe, words, uid = key
    return {
        "eventType": "exec",
        "processBinary": exe,
        "arguments": list(words),
        "uid": uid,
        "count": count,
    }


# The time of the first or last of the records, in whole seconds.
def _second(records: list[Json], choose: Any) -> str | None:
    times = [str(one["time"]) for one in records]
    return f"{choose(times)[:19]}Z" if times else None


def _run(file: Verified) -> Json:
    return {
        "run": file.run,
        "evidence": file.path,
        "records": file.records,
        "head": file.head,
        "verdict": file.verdict,
        "complete": file.complete,
        "exitStatus": file.exit_status,
    }
