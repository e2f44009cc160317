"""The channel by which a run is told from outside which phase of a scenario it is.

`egressmon prove` holds the other end. The command never gets this one: it is closed
as it is executed. A message is one JSON object, a datagram of its own, and each is
answered: who sent a mark goes on when it is known here.
"""

import json
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from egressmon.evidence.masking import shown
from egressmon.evidence.phases import Phases
from egressmon.evidence.records import Record
from egressmon.evidence.records.running import PhaseRecord
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.evidence.tally import Tally
from egressmon.faults import Faults

MAX_MESSAGE = 16384


class Control:
    """The agent's end. Whatever comes, the run goes on; faults are noted."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what it joins
        self,
        connection: socket.socket,
        phases: Phases,
        record_at: Callable[[Record, int], None],
        tally: Tally,
        faults: Faults,
        command: int,
    ) -> None:
        """`record_at` records what happened at a time; `phases` learns the marks.

        `command` is the pid of the command, which makes none but probes: what they
        violate is not counted.
        """
        self._connection = connection
        self._phases = phases
        self._record_at = record_at
        self._tally = tally
        self._faults = faults
        self._command = command
        self._violations = 0
        self.is_open = True
        """Whether there still is somebody at the other end."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._connection.fileno()

    def listen(self) -> None:
        """Take and answer the messages that are there; do not wait for any."""
        while self.is_open and _is_readable(self._connection):
            with self._faults.isolated("being told of a phase"):
                self._take()

    def on_record(self, record: Record) -> None:
        """Count `record` if it is a violation."""
        if not isinstance(record, ConnectionRecord | DnsRecord):
            return
        if record.verdict == "violation" and (
            record.process is None or record.process.pid != self._command
        ):
            self._violations += record.count if isinstance(record, DnsRecord) else 1

    def _take(self) -> None:
        try:
            data = self._connection.recv(MAX_MESSAGE)
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return
        message = json.loads(data)
        if (mark := message.get("mark")) is not None:
            self._mark(mark)
        with suppress(OSError):  # the next read tells that nobody is there
            answer = json.dumps({"id": message["id"], **self._counts()}).encode()
            self._connection.send(answer, socket.MSG_DONTWAIT)

    def _mark(self, mark: dict[str, Any]) -> None:
        ktime_ns = int(mark["ktime_ns"])
        record = PhaseRecord(
            # What every record of the phase has, too, and no record is masked twice.
            name=shown(str(mark["name"])),
            event="begin" if mark["event"] == "begin" else "end",
            outcome=mark.get("outcome"),
            reason=mark.get("reason"),
        )
        if record.event == "begin":
            self._phases.begin(record.name, ktime_ns)
        self._record_at(record, ktime_ns)
        if record.event == "end":
            self._phases.end(ktime_ns)

    def _counts(self) -> dict[str, int]:
        tally = self._tally
        counts = tally.seen_connections, tally.seen_queries
        return {
            "events": sum(one.total() for one in counts) + tally.seen_processes,
            "violations": self._violations,
        }


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
