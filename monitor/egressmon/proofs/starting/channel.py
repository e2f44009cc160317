"""Messages between two of our own processes: JSON objects, with open files.

Each has its length before it, as the environment of a process may be long.
"""

import json
import os
import socket
import struct
from typing import Any, cast

_LENGTH = struct.Struct("=I")
_TIMEVAL = struct.Struct("@ll")
_MOST = 16 << 20
_MAX_FILES = 8
Message = dict[str, Any]


class Channel:
    """One end of a connection; both ends are ours."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Return both ends of a new connection."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), cls(theirs)

    @classmethod
    def of(cls, descriptor: int) -> "Channel":
        """Return the end that is open as `descriptor`."""
        return cls(socket.socket(fileno=descriptor))

    def limit(self, seconds: float) -> None:
        """Wait no longer for the other end: for room to send, or the next piece.

        It may be stopped in the middle of a message.
        """
        value = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000))
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # socket(7)
            self._connection.setsockopt(socket.SOL_SOCKET, option, value)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._connection.fileno()

    def send(self, message: Message, *files: int) -> None:
        """Send `message`, with copies of `files`; raises OSError."""
        data = json.dumps(message).encode()
        whole = memoryview(_LENGTH.pack(len(data)) + data)
        # At once: who is stopped between two calls would leave half a message.
        sent = socket.send_fds(self._connection, [whole], files)
        if sent < len(whole):
            self._connection.sendall(whole[sent:])

    def receive(self) -> tuple[Message, list[int]] | None:
        """Wait for a message and return it with its files; None: the other end is gone.

        A message that is none counts as the end.
        """
        try:
            head, files, _, _ = socket.recv_fds(
                self._connection, _LENGTH.size, _MAX_FILES, socket.MSG_WAITALL
            )
            for number in files:
                os.set_inheritable(number, False)
            if len(head) < _LENGTH.size:
                return None
            (length,) = _LENGTH.unpack(head)
            data = self._exactly(length) if length <= _MOST else b""
            message = json.loads(data)
        except (OSError, ValueError):
            return None
        if not isinstance(message, dict):
            return None
        return cast("Message", message), files

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _exactly(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = self._connection.recv(min(length - len(parts), 1 << 20))
            if not part:
                return b""
            parts += part
        return bytes(parts)
