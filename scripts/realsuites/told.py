"""What the evidence says of a run: connections with their stacks, and the end."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from straced import Connect

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}

Frame = tuple[str | None, str | None, int | None]
"""Function, file, line."""


@dataclass(frozen=True)
class Connection:
    """A TCP connect in the evidence."""

    connect: Connect
    time_ns: int
    verdict: str
    language: str | None
    test: str | None
    confirmed: bool | None
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Evidence:
    """What one run's evidence holds."""

    connections: list[Connection]
    end: dict[str, Any]
    """The record `run.end`."""


def unescaped(text: str) -> str:
    """Return a text of the evidence as it was before its escapes (docs/evidence.md)."""

    def one(match: re.Match[str]) -> str:
        digits = match[1] or match[2] or match[3]
        if digits:
            return chr(int(digits, 16))
        return _LETTERS.get(match[4], match[4])

    return _ESCAPE.sub(one, text)


def nanoseconds(time: str) -> int:
    """Return an RFC 3339 time in UTC as nanoseconds since 1970."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))


def parse(lines: Iterable[str]) -> Evidence:
    """Return what the `lines` of an evidence file say."""
    stacks: dict[str, tuple[Frame, ...]] = {}
    connections: list[Connection] = []
    record: dict[str, Any] = {}
    for line in lines:
        record = json.loads(line)
        if record["type"] == "stack":
            stacks[record["digest"]] = tuple(_frames(record))
        elif _is_tcp_connect(record):
            connections.append(_connection(record, stacks))
    if record.get("type") != "run.end":
        raise ValueError("the evidence has no end: egressmon did not finish")
    return Evidence(connections, record)


def read(path: Path) -> Evidence:
    """Return what is in the evidence file `path`."""
    with path.open(encoding="utf-8") as file:
        return parse(file)


def _is_tcp_connect(record: dict[str, Any]) -> bool:
    if record["type"] != "connection" or record["op"] != "connect":
        return False
    return record["protocol"] == "tcp" and record["process"] is not None


def _frames(stack: dict[str, Any]) -> Iterable[Frame]:
    names = [unescaped(name) for name in stack["names"]]
    for function, file, line in stack["frames"]:
        yield (
            None if function is None else names[function],
            None if file is None else names[file],
            line,
        )


def _connection(
    record: dict[str, Any], stacks: dict[str, tuple[Frame, ...]]
) -> Connection:
    dst, process = record["dst"], record["process"]
    code: dict[str, Any] = record["code"] or {}
    stack, test = code.get("stack"), code.get("test")
    return Connection(
        connect=Connect(process["tid"], dst["ip"], dst["port"]),
        time_ns=nanoseconds(record["time"]),
        verdict=record["verdict"],
        language=code.get("language"),
        test=None if test is None else unescaped(test),
        confirmed=code.get("test_confirmed"),
        frames=stacks.get(stack["digest"], ()) if stack else (),
    )
