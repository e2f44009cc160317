"""Tell whether the scope itself may have sent the answer to its own question."""

from egressmon.events.model import DNS_LOOPBACK, DNS_SCOPE_RECEIVES, Address, DnsPacket

_MAX_SERVERS = 65536


class Answerers:
    """Remembers the addresses from which the scope has sent as a DNS server."""

    def __init__(self) -> None:
        self._servers: set[tuple[int, Address]] = set()
        self._is_full = False

    def add(self, packet: DnsPacket) -> None:
        """Note that the scope sent from the server address of `packet`."""
        if len(self._servers) >= _MAX_SERVERS:
            self._is_full = True
        else:
            self._servers.add((_place(packet), packet.server))

    def doubt(self, question: DnsPacket, answer: DnsPacket) -> str | None:
        """Return why the scope may have sent `answer`; None if it cannot have."""
        if (question.traits | answer.traits) & DNS_SCOPE_RECEIVES:
            return "the scope itself receives there"
        server = answer.server
        places = {0, _place(answer), _place(question)}
        if self._is_full or any((one, server) in self._servers for one in places):
            return "the scope itself sent from that address and port"
        if answer.traits & DNS_LOOPBACK & ~question.traits:
            return "it came from this machine, where the question did not go"
        return None


# The network namespace that an address belongs to; 0: any. Each namespace has its own
# loopback addresses, but others can be routed between two.
def _place(packet: DnsPacket) -> int:
    return packet.netns if packet.server.is_loopback else 0
