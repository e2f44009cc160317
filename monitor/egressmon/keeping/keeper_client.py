"""The agent's side: ask the keeper for what the agent has no right to do."""

import errno
import ipaddress
import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from egressmon.files import Kind, open_here
from egressmon.keeping.protocol import (
    ANSWER,
    CHANGED,
    COUNTS,
    ELEMENTS,
    FIRST,
    LAST,
    MAX_ANSWER,
    NUMBER,
    PIECE,
    READ,
    REQUEST,
    Service,
)
from egressmon.probes.engine import Engine
from egressmon.probes.loaded import Loaded
from egressmon.sensor.canary import Attempt, Plan
from egressmon.values import dataclass, field


class KeeperClient:
    """Asks the keeper, from any thread. All methods raise OSError.

    Its errno is that of the keeper's system call, or EPIPE if the keeper is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def open(self, path: bytes, kind: Kind) -> int:
        """Open a file with the rights of the command's user, and return its descriptor.

        This implements `files.Opener`.
        """
        if not path.startswith(b"/"):
            path = os.fsencode(Path.cwd()) + b"/" + path
        # Most files may be read by everybody: try to open them without the keeper.
        if not path.startswith(b"/proc/"):
            with suppress(PermissionError):
                return open_here(path, kind)
        return self._opened(Service.OPEN, kind, path)

    def open_segment(self, number: int) -> int:
        """Make the next segment of the evidence; return its descriptor, for writing."""
        return self._opened(Service.OPEN_SEGMENT, 0, NUMBER.pack(number))

    def reopen_segment(self, number: int) -> int:
        """Return a descriptor, for reading, of what is now called as that segment."""
        return self._opened(Service.REOPEN, 0, NUMBER.pack(number))

    def open_policy(self) -> int:
        """Return a descriptor, for reading, of the policy that the run was begun with.

        It is what its path names now.
        """
        return self._opened(Service.OPEN_POLICY, 0, b"")

    def notify(self, state: int, connections: int, violations: int) -> None:
        """Tell the service manager, if there is one, that the run is in `state`."""
        self._ask(Service.NOTIFY, state, COUNTS.pack(connections, violations))

    def replace_manifest(self, data: bytes) -> None:
        """Have `data` in the manifest of the evidence's segments."""
        for start in range(0, len(data), PIECE):
            end = start + PIECE
            which = (0 if start else FIRST) | (LAST if end >= len(data) else 0)
            self._ask(Service.REPLACE, which, data[start:end])

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Set the element at `key` of the probes' map `table`."""
        self._ask(Service.UPDATE, CHANGED.index(table), key + value)

    def delete(self, table: str, key: bytes) -> None:
        """Remove the element at `key` of the probes' map `table`."""
        self._ask(Service.DELETE, CHANGED.index(table), key)

    def totals(self, table: str, slots: int, width: int) -> list[list[int]]:
        """Return the numbers in the probes' map `table`, summed over all processors.

        The result has `slots` lists of `width` numbers each.
        """
        shape = ELEMENTS.pack(slots, width)
        found: list[list[int]] = self._ask(Service.TOTALS, READ.index(table), shape)[0]
        return found

    def skipped(self, part: int) -> dict[str, int | None]:
        """Return how often the kernel skipped each program of a part of the probes.

        `part` is its index in `engine.parts`. The count is None if the kernel has none.
        """
        found: dict[str, int | None] = self._ask(Service.SKIPPED, part)[0]
        return found

    def disarm(self) -> None:
        """Let the probes no longer refuse the canaries' addresses."""
        self._ask(Service.DISARM)

    def send_canaries(self) -> tuple[Plan, list[Attempt]]:
        """Send a new round of canaries from inside the scope.

        Return where they went, and what their sender saw.
        """
        (port, inet, inet6), attempts = self._ask(Service.CANARIES)[0]
        plan = Plan(port, ipaddress.IPv4Address(inet), ipaddress.IPv6Address(inet6))
        return plan, [Attempt(**fields) for fields in attempts]

    def say_ready(self) -> None:
        """Create the file that says that the probes are armed, if one was asked for."""
        self._ask(Service.READY)

    def go(self) -> int:
        """Start the command; return 0, or the errno with which it could not be."""
        return int(self._ask(Service.GO)[0])

    def reap(self) -> int:
        """Wait for the command, and return its wait status."""
        return int(self._ask(Service.REAP)[0])

    def pids(self) -> list[int]:
        """Return the pids of the processes in the scope."""
        found: list[int] = self._ask(Service.PIDS)[0]
        return found

    def sweep(self) -> int:
        """Remove members of the scope whose process is gone, and return how many."""
        return int(self._ask(Service.SWEEP)[0])

    def end(self) -> None:
        """End the process that stands for a command; raises OSError."""
        self._ask(Service.END)

    def attached(self) -> tuple[int, int]:
        """Return how many probes still are attached, and how many should be."""
        found: list[int] = self._ask(Service.ATTACHED)[0]
        return found[0], found[1]

    def take_over(self, engine: Engine) -> None:
        """Let `engine` reach its maps through the keeper; it keeps only its rings."""
        engine.hand_over(
            [
                _RemotePart(part.name, part.version, {}, {}, self, number)
                for number, part in enumerate(engine.parts)
            ]
        )

    def _opened(self, service: Service, detail: int, rest: bytes) -> int:
        _, descriptor = self._ask(service, detail, rest)
        if descriptor is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return descriptor

    def _ask(
        self, service: Service, detail: int = 0, rest: bytes = b""
    ) -> tuple[Any, int | None]:
        with self._lock:
            self._connection.send(REQUEST.pack(service, detail) + rest)
            data, found, _, _ = socket.recv_fds(self._connection, MAX_ANSWER, 1)
        if len(data) < ANSWER.size:
            raise BrokenPipeError(errno.EPIPE, "the keeper is gone")
        (code,) = ANSWER.unpack_from(data)
        if code:
            raise OSError(code, os.strerror(code))
        text = data[ANSWER.size :]
        return (json.loads(text) if text else None), (found[0] if found else None)


@dataclass(frozen=True, slots=True)
class _RemotePart(Loaded):
    """A part of the probes whose programs and maps only the keeper has open."""

    keeper: KeeperClient = field(repr=False)
    number: int

    def update(self, table: str, key: bytes, value: bytes) -> None:
        self.keeper.update(table, key, value)

    def delete(self, table: str, key: bytes) -> None:
        self.keeper.delete(table, key)

    def totals(self, table: str, slots: int, width: int = 1) -> list[list[int]]:
        return self.keeper.totals(table, slots, width)

    def skipped(self) -> dict[str, int | None]:
        return self.keeper.skipped(self.number)
