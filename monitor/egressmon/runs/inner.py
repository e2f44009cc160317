"""Tell people of an egressmon that the command ran: its canaries are violations here.

They cannot be told from what a command itself sends to the same addresses, so each is
recorded and judged like any other connection.
"""

import ipaddress

from egressmon.evidence.records import Record
from egressmon.evidence.records.traffic import ConnectionRecord
from egressmon.sensor.canary import INET6_BLOCK, INET_BLOCKS

_NETWORKS = tuple(
    ipaddress.ip_network(block)
    for block in (*(f"{one}/24" for one in INET_BLOCKS), f"{INET6_BLOCK}/32")
)


class InnerRuns:
    """Counts violations that look like canaries."""

    def __init__(self) -> None:
        self._count = 0

    def on_record(self, record: Record) -> None:
        """Count `record` if it is such a violation."""
        if not isinstance(record, ConnectionRecord) or record.verdict != "violation":
            return
        address = ipaddress.ip_address(record.dst.ip)
        self._count += any(address in network for network in _NETWORKS)

    def notes(self) -> list[str]:
        """Return what the reports should tell people, a sentence each."""
        if not self._count:
            return []
        note = (
            f"{self._count} violations go to addresses for documentation, which nobody "
            "has: an egressmon that the command runs tries there whether it sees"
        )
        return [note]
