"""Evidence of what runs reached, made of a few records, as a run writes it."""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from blake3 import blake3

from egressmon.drift.model import Surface
from egressmon.drift.surface import surface_of
from egressmon.evidence.records import SCHEMA
from support.forging import written

Json = dict[str, Any]
POLICY = f"sha256:{'a' * 64}"
OTHER_POLICY = f"sha256:{'b' * 64}"


def _digest(record: Json) -> str:
    return blake2b(written(record), digest_size=16).hexdigest()


def actor(program: str = "/usr/bin/python3") -> Json:
    """Return the record of a process that runs `program`."""
    content = {"pid": 100, "exe": program, "argv": [program]}
    return {"type": "actor", "digest": _digest(content), **content}


def package(name: str, version: str | None, kind: str = "python") -> Json:
    """Return a package as the records of modules and code have it."""
    return {"kind": kind, "name": name, "version": version, "verified": True}


def module(path: str = "/usr/lib/_socket.so", owner: Json | None = None) -> Json:
    """Return the record of the native code at `path`."""
    caller = {"path": path, "build_id": None, "package": owner}
    content: Json = {"caller": caller, "binding": None, "chain": [], "chain_end": None}
    return {"type": "module", "digest": _digest(content), **content}


def connection(
    name: str | None = "api.example.org",
    ip: str = "198.51.100.7",
    port: int | None = 443,
    by: Json | None = None,
    **fields: Any,
) -> list[Json]:
    """Return the records of a connection: of its process, its module, and itself.

    `by` is the package of the Python code behind it.
    """
    names = [{"name": name, "source": "dns", "asked_by": "thread"}] if name else []
    record: Json = {
        "type": "connection",
        "op": "connect",
        "protocol": "tcp",
        "dst": {"ip": ip, "port": port, "names": names},
        "local_port": None,
        **_called(by, fields),
        "guard": fields.get("guard", "absent"),
    }
    return _with_callers(record, fields)


def look_up(
    name: str | None, kind: str = "A", by: Json | None = None, **fields: Any
) -> list[Json]:
    """Return the records of a look-up."""
    record: Json = {
        "type": "dns",
        "protocol": "udp",
        "resolver": fields.get("resolver", "192.0.2.53"),
        "name": name,
        "kind": kind,
        "count": 1,
        **_called(by, fields),
    }
    return _with_callers(record, fields)


def _called(by: Json | None, fields: Json) -> Json:
    code = {"package": by, "test": fields.get("test")}
    return {
        "verdict": fields.get("verdict", "allowed"),
        "route": fields.get("route", "python-socket"),
        "bypass": fields.get("bypass", False),
        "code": code if by or fields.get("test") else None,
    }


def _with_callers(record: Json, fields: Json) -> list[Json]:
    process = fields.get("process", actor())
    native = fields.get("module", module())
    holder = {"pid": 100, "tid": 100, "comm": "python3", "digest": process["digest"]}
    record["process"] = holder
    record["module"] = {"digest": native["digest"]} if native else None
    extra = fields.get("extra", {})
    return [process, *([native] if native else []), {**record, **extra}]


def run_of(
    *groups: Iterable[Json],
    run: str = "run-1",
    day: int = 1,
    start: Json | None = None,
    end: Json | None = None,
    has_end: bool = True,
) -> list[Json]:
    """Return the records of a run; `start` and `end` are other fields of these."""
    records: list[Json] = [
        {
            "type": "run.start",
            "attribution": "full",
            "policy_digest": POLICY,
            "policy_kind": "file",
            "blind_spots": [{"name": "packet-sockets"}],
            **(start or {}),
        }
    ]
    for group in groups:
        records += group
    if has_end:
        records.append({
            "type": "run.end",
            "complete": True,
            "incomplete_reasons": [],
            "losses": {},
            "sent_bytes": 1234,
            **(end or {}),
        })  # fmt: skip
    time = f"2026-11-{day:02}T02:00:00.000000000Z"
    return [
        {"schema": SCHEMA, "type": one["type"], "seq": 0, "time": time, "run": run}
        | {"phase": None, "prev": None}
        | one
        for one in records
    ]


def write(path: Path, records: list[Json]) -> Path:
    """Write `records` to `path` with their numbers and their chain; return it."""
    prev: str | None = None
    lines: list[bytes] = []
    for number, record in enumerate(records):
        lines.append(written({**record, "seq": number, "prev": prev}))
        prev = "blake3:" + blake3(lines[-1]).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def surface(folder: Path, *runs: list[Json]) -> Surface:
    """Return the surface of `runs`, whose evidence is written to `folder`."""
    paths = [write(folder / f"{number}.jsonl", one) for number, one in enumerate(runs)]
    return surface_of([*map(str, paths)])
