"""A name server for which every name exists, and has an address of its own."""

import socket
import zlib

_FIRST, _LAST = 1, 50
_MAX_QUERY = 4096
_HEADER = 12
_A, _IN = b"\0\x01", b"\0\x01"
_TTL = b"\0\0\0\x3c"


class Addresses:
    """Gives each name an address in 198.51.100.1 to .50, nearly always the same."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, name: str) -> str:
        """Return the address of `name`; names share some once 50 are given."""
        last = self._known.get(name)
        if last is None:
            size = _LAST - _FIRST + 1
            last = zlib.crc32(name.encode()) % size
            taken = set(self._known.values())
            while last in taken and len(taken) < size:
                last = (last + 1) % size
            self._known[name] = last
        return f"198.51.100.{_FIRST + last}"


def answer(query: bytes, addresses: Addresses) -> bytes | None:
    """Return the answer to `query`: an address for A, and nothing for other types.

    None for what is no query with one question.
    """
    if len(query) < _HEADER or query[4:6] != b"\0\x01":
        return None
    labels: list[bytes] = []
    at = _HEADER
    while at < len(query) and (length := query[at]):
        labels.append(query[at + 1 : at + 1 + length])
        at += 1 + length
    question = query[_HEADER : at + 5]
    if not question.endswith(_IN):
        return None
    name = b".".join(labels).decode("ascii", "replace").lower()
    found = b""
    if question[-4:-2] == _A:
        address = socket.inet_aton(addresses.of(name))
        found = b"\xc0\x0c" + _A + _IN + _TTL + b"\0\x04" + address
    counts = b"\0\x01" + (b"\0\x01" if found else b"\0\0") + b"\0\0\0\0"
    return query[:2] + b"\x81\x80" + counts + question + found


def serve(address: str) -> None:
    """Answer at `address` for ever."""
    addresses = Addresses()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        while True:
            query, client = server.recvfrom(_MAX_QUERY)
            if (reply := answer(query, addresses)) is not None:
                server.sendto(reply, client)
