"""Who serves DNS on this machine for containers, and whom that server asks in turn.

A container may ask any of the machine's own addresses. What it is told there names
something only if a service of the machine's was seen to answer from that address, and
if that service asks no server that is not trusted: whoever starts a container may
choose whom an engine's resolver asks for it.
"""

from collections.abc import Callable
from typing import TypeAlias

from egressmon.events.model import (
    DNS_SCOPE_ANSWERS,
    FLAG_INGRESS,
    Address,
    DnsPacket,
)
from egressmon.naming.dns.trust import UNKNOWN

_MAX_SERVERS = 1024
_MAX_EACH = 64
_Process: TypeAlias = tuple[int, int]
"""Its pid, and when it began (ns since boot)."""
_TOO_MANY = "more programs ask for names there than are followed"


class Servers:
    """Remembers which services answer from which address, and what they ask."""

    def __init__(self, is_machines: Callable[[DnsPacket], bool]) -> None:
        """`is_machines` tells whether a packet is of a service of the machine's."""
        self._is_machines = is_machines
        self._answer: dict[Address, set[_Process]] = {}
        self._asked: dict[_Process, Address] = {}
        self._is_full = False

    def note(self, packet: DnsPacket, trusted: frozenset[Address]) -> bool:
        """Note what `packet` tells; `trusted` are the machine's own resolvers.

        Return whether it is an answer of a service of the machine's.
        """
        if packet.traits & DNS_SCOPE_ANSWERS:
            return self._note_answer(packet)
        if packet.flags & FLAG_INGRESS or packet.server in trusted:
            return False
        if _process(packet) not in self._asked and self._is_machines(packet):
            if len(self._asked) < _MAX_SERVERS:
                self._asked[_process(packet)] = packet.server
            else:
                self._is_full = True
        return False

    def _note_answer(self, packet: DnsPacket) -> bool:
        if not self._is_machines(packet):
            return False
        if len(self._answer) < _MAX_SERVERS or packet.server in self._answer:
            who = self._answer.setdefault(packet.server, set())
            if len(who) < _MAX_EACH:
                who.add(_process(packet))
            else:
                self._is_full = True
        return True

    def doubt(self, server: Address) -> str | None:
        """Return why what `server`, one of this machine's, answers names nothing."""
        who = self._answer.get(server)
        if not who:
            return UNKNOWN
        if self._is_full:
            return _TOO_MANY
        for one in who:
            if one in self._asked:
                return (
                    f"what answers there asked {self._asked[one]}, which is not trusted"
                )
        return None


def _process(packet: DnsPacket) -> _Process:
    return packet.pid, packet.start_ns
