"""The agent's side of the keeper: what it cannot do itself, it asks for."""

import errno
import ipaddress
import json
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egressmon.files import Kind, open_here
from egressmon.keeping.protocol import (
    ANSWER,
    CHANGED,
    ELEMENTS,
    MAX_ANSWER,
    READ,
    REQUEST,
    Wanted,
)
from egressmon.probes.engine import Engine, Loaded
from egressmon.sensor.canary import Attempt, Plan


class Kept:
    """Asks the keeper. All of it raises OSError: what the keeper's kernel said."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def open(self, path: bytes, kind: Kind) -> int:
        """Have a file opened, with the rights of the command's user (files.Opener)."""
        if not path.startswith(b"/"):
            path = os.fsencode(Path.cwd()) + b"/" + path
        # What everybody may read takes no right, and no asking.
        if not path.startswith(b"/proc/"):
            with suppress(PermissionError):
                return open_here(path, kind)
        _, descriptor = self._ask(Wanted.OPEN, kind, path)
        if descriptor is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return descriptor

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Set the element of a map of the probes at `key`."""
        self._ask(Wanted.UPDATE, CHANGED.index(table), key + value)

    def delete(self, table: str, key: bytes) -> None:
        """Remove the element of a map of the probes at `key`."""
        self._ask(Wanted.DELETE, CHANGED.index(table), key)

    def totals(self, table: str, slots: int, width: int) -> list[list[int]]:
        """Return the numbers in a map of the probes."""
        wanted = ELEMENTS.pack(slots, width)
        found: list[list[int]] = self._ask(Wanted.TOTALS, READ.index(table), wanted)[0]
        return found

    def skipped(self, part: int) -> dict[str, int | None]:
        """Return how often the kernel skipped each program of a part of the probes."""
        found: dict[str, int | None] = self._ask(Wanted.SKIPPED, part)[0]
        return found

    def disarm(self) -> None:
        """Have the probes refuse nothing."""
        self._ask(Wanted.DISARM)

    def send_canaries(self) -> tuple[Plan, list[Attempt]]:
        """Have canaries armed and sent; return where they go, and how they went."""
        (port, inet, inet6), attempts = self._ask(Wanted.CANARIES)[0]
        plan = Plan(port, ipaddress.IPv4Address(inet), ipaddress.IPv6Address(inet6))
        return plan, [Attempt(**fields) for fields in attempts]

    def say_ready(self) -> None:
        """Have the file made that says that the probes are armed, if one is wanted."""
        self._ask(Wanted.READY)

    def go(self) -> int:
        """Let the child become the command; returns 0, or the errno of its exec."""
        return int(self._ask(Wanted.GO)[0])

    def reap(self) -> int:
        """Wait for the command, and return its wait status."""
        return int(self._ask(Wanted.REAP)[0])

    def pids(self) -> list[int]:
        """Return the processes in the scope."""
        found: list[int] = self._ask(Wanted.PIDS)[0]
        return found

    def take_over(self, engine: Engine) -> None:
        """Have engine ask the keeper, and hold nothing but its ring."""
        engine.hand_over(
            [
                _Distant(part.name, part.version, {}, {}, self, number)
                for number, part in enumerate(engine.parts)
            ]
        )

    def _ask(
        self, wanted: Wanted, detail: int = 0, rest: bytes = b""
    ) -> tuple[Any, int | None]:
        with self._lock:
            self._connection.send(REQUEST.pack(wanted, detail) + rest)
            data, found, _, _ = socket.recv_fds(self._connection, MAX_ANSWER, 1)
        if len(data) < ANSWER.size:
            raise BrokenPipeError(errno.EPIPE, "the keeper is gone")
        (code,) = ANSWER.unpack_from(data)
        if code:
            raise OSError(code, os.strerror(code))
        text = data[ANSWER.size :]
        return (json.loads(text) if text else None), (found[0] if found else None)


@dataclass(frozen=True, slots=True)
class _Distant(Loaded):
    """Programs and maps that the keeper has."""

    kept: Kept = field(repr=False)
    number: int

    def update(self, table: str, key: bytes, value: bytes) -> None:
        self.kept.update(table, key, value)

    def delete(self, table: str, key: bytes) -> None:
        self.kept.delete(table, key)

    def totals(self, table: str, slots: int, width: int = 1) -> list[list[int]]:
        return self.kept.totals(table, slots, width)

    def skipped(self) -> dict[str, int | None]:
        return self.kept.skipped(self.number)
