"""Tell whether the scope itself may have sent the answer to its own question."""

from collections.abc import Callable

from egressmon.events.model import (
    DNS_LOOPBACK,
    DNS_SCOPE_RECEIVES,
    FLAG_OWNERLESS,
    Address,
    DnsPacket,
)

UNKNOWN = "who answers there is not known to be the machine's own service"
_MAX_SERVERS = 65536
_TCP = 6


class Answerers:
    """Remembers the addresses from which the scope has sent as a DNS server."""

    def __init__(self, is_trusted: Callable[[DnsPacket], bool] | None = None) -> None:
        """`is_trusted` tells whose answers are believed though they are the scope's.

        It is given where all of the machine is in the scope: there, what this machine
        answers is believed only of servers that were seen to be such. None: nobody's.
        """
        self._is_trusted = is_trusted
        self._believed: set[tuple[int, Address]] = set()
        self._servers: set[tuple[int, Address]] = set()
        self._is_full = False

    def add(self, packet: DnsPacket) -> None:
        """Note that the scope sent from the server address of `packet`."""
        if self._is_trusted is not None and self._is_believed(packet):
            return
        if len(self._servers) >= _MAX_SERVERS:
            self._is_full = True
        else:
            self._servers.add((_place(packet), packet.server))

    # What has no owner in TCP is a listener's: who that is its datagrams tell.
    def _is_believed(self, packet: DnsPacket) -> bool:
        if packet.protocol == _TCP and packet.flags & FLAG_OWNERLESS:
            return True
        if self._is_trusted is None or not self._is_trusted(packet):
            return False
        if len(self._believed) < _MAX_SERVERS:
            self._believed.add((_place(packet), packet.server))
        return True

    def doubt(self, question: DnsPacket, answer: DnsPacket) -> str | None:
        """Return why the scope may have sent `answer`; None if it cannot have."""
        server = answer.server
        places = {0, _place(answer), _place(question)}
        if (question.traits | answer.traits) & DNS_SCOPE_RECEIVES:
            if self._is_trusted is None:
                return "the scope itself receives there"
            if not any((one, server) in self._believed for one in places):
                return UNKNOWN
        if self._is_full or any((one, server) in self._servers for one in places):
            return "the scope itself sent from that address and port"
        if answer.traits & DNS_LOOPBACK & ~question.traits:
            return "it came from this machine, where the question did not go"
        return None


# The network namespace that an address belongs to; 0: any. Each namespace has its own
# loopback addresses, but others can be routed between two.
def _place(packet: DnsPacket) -> int:
    return packet.netns if packet.server.is_loopback else 0
