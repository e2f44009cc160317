"""One connection to the control socket: a request comes, an answer goes, no waiting."""

import socket

from egressmon.sidecar.requests import MAX_REQUEST, RequestError

_DONT_WAIT = socket.MSG_DONTWAIT
_SENDING = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Connection:
    """Who connected may be slow, flood us, or be gone: nothing here blocks or raises.

    Only `request` raises, and only RequestError.
    """

    def __init__(self, connection: socket.socket, uid: int, deadline: float) -> None:
        """`deadline` (monotonic) is that of the request, then that of the answer."""
        self.socket = connection
        self.uid = uid
        self.deadline = deadline
        self.is_reading = True
        """Whether its request is still to come."""
        self._received = bytearray()
        self._unsent = memoryview(b"")

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self.socket.fileno()

    def request(self) -> bytes | None:
        """Return the line that has come; None: it is not whole yet.

        Raises RequestError if none will come. What follows the line is not read.
        """
        wanted = MAX_REQUEST - len(self._received)
        try:
            part = self.socket.recv(wanted, _DONT_WAIT)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise RequestError("the connection broke") from error
        if not part:
            raise RequestError("the request has no end: it is one line")
        self._received += part
        line, newline, _ = self._received.partition(b"\n")
        if newline:
            self.is_reading = False
            return bytes(line)
        if len(self._received) >= MAX_REQUEST:
            raise RequestError(f"the request is longer than {MAX_REQUEST} bytes")
        return None

    def answer(self, data: bytes, deadline: float) -> bool:
        """Send `data`, and return whether that is done: it is taken, or never will be.

        What is left by `deadline` is for `go_on`.
        """
        self.is_reading = False
        self.deadline = deadline
        self._unsent = memoryview(data)
        return self.go_on()

    def go_on(self) -> bool:
        """Send what is left of the answer; return whether that is done."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent, _SENDING) :]
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._unsent = memoryview(b"")
        return True

    def close(self) -> None:
        """Close it; what was sent stays for the other end to read."""
        self.socket.close()
