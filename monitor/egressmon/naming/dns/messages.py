"""Read DNS messages of which most are like earlier ones but for their identifiers."""

from egressmon.naming.dns.message import Message, parse
from egressmon.recent import Recent

_MAX_KEPT = 512
_MAX_SIZE = 512  # bytes of a message


class Messages:
    """Reads messages, and keeps a bounded number of what was read."""

    def __init__(self) -> None:
        self._known = Recent[bytes, Message](_MAX_KEPT)

    def turn(self) -> None:
        """Let go of the messages that did not come since the last turn."""
        self._known.turn()

    def read(self, data: bytes) -> Message:
        """Return the message in `data`, as `read_message` does.

        Messages whose bytes are equal but for the identifier are the same object.
        """
        rest = data[2:]
        known = self._known.get(rest)
        if known is not None:
            return known
        message, wire = parse(data)
        # A name may go on in the header, and so begin with the identifier's bytes.
        if len(data) <= _MAX_SIZE and not wire.has_name_in_header:
            self._known.put(rest, message)
        return message
