"""Whether the scope itself may have answered a question, told at each answer."""

from egressmon.events.model import DNS_LOOPBACK, DNS_SCOPE_RECEIVES, Address, DnsPacket

_MAX_SERVERS = 65536


class Answerers:
    """From where the scope sent as a DNS server does, since the run began."""

    def __init__(self) -> None:
        self._servers: set[tuple[int, Address]] = set()
        self._is_full = False

    def add(self, packet: DnsPacket) -> None:
        """Note that the scope sent from the address of `packet`."""
        if len(self._servers) >= _MAX_SERVERS:
            self._is_full = True
        else:
            self._servers.add((_place(packet), packet.server))

    def doubt(self, question: DnsPacket, answer: DnsPacket) -> str | None:
        """Return why `answer` may be the scope's own; None: it cannot be."""
        if (question.traits | answer.traits) & DNS_SCOPE_RECEIVES:
            return "the scope itself receives there"
        server = answer.server
        places = {0, _place(answer), _place(question)}
        if self._is_full or any((one, server) in self._servers for one in places):
            return "the scope itself sent from that address and port"
        if answer.traits & DNS_LOOPBACK & ~question.traits:
            return "it came from this machine, where the question did not go"
        return None


# Loopback addresses are of one network namespace; others can be routed between two.
def _place(packet: DnsPacket) -> int:
    return packet.netns if packet.server.is_loopback else 0
