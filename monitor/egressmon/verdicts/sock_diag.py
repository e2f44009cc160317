"""List the sockets of the caller's network namespace (sock_diag(7))."""

import socket
import struct
from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
# include/uapi/linux/netlink.h
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def connect(patience_s: float) -> socket.socket:
    """Return a sock_diag socket whose answers are waited for up to `patience_s`."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    made.settimeout(patience_s)
    return made


def dump(diag: socket.socket, request: bytes) -> Iterator[bytes]:
    """Yield the answer for each socket: a struct inet_diag_msg and its attributes.

    Raises OSError, ValueError or struct.error; `diag` must not be used again then.
    """
    size = _HEADER.size + len(request)
    header = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 0, 0)
    diag.sendto(header + request, (0, 0))
    while True:
        for kind, body in _messages(diag.recv(1 << 16)):
            if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                (failure,) = struct.unpack_from("=i", body)
                if failure:
                    raise OSError(-failure, "sock_diag")
                return
            yield body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + _HEADER.size <= len(data):
        size, kind, *_ = _HEADER.unpack_from(data, place)
        if size < _HEADER.size:
            raise ValueError("a netlink message without its header")
        yield kind, data[place + _HEADER.size : place + size]
        place += size + 3 & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each netlink attribute in `data`."""
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, place)
        if size < _ATTRIBUTE.size:
            raise ValueError("a netlink attribute without its header")
        yield kind, data[place + _ATTRIBUTE.size : place + size]
        place += size + 3 & ~3
