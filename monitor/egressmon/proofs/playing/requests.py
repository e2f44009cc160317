"""The requests that prove itself makes to a server in the scope."""

import http.client
import socket
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from urllib.parse import urlsplit

from egressmon.proofs.plans.plan import Request

_MOST = 16 << 20
_PIECE = 65536


class Sending(threading.Thread):
    """A request under way, in a thread, as the scenario attends to more than that."""

    def __init__(
        self, request: Request, url: str, headers: Mapping[str, str], limit_s: float
    ) -> None:
        super().__init__(daemon=True)
        self._request = request
        self._url = url
        self._headers = headers
        self._limit_s = limit_s
        self.failure: str | None = None
        """What is wrong with the answer."""

    @property
    def is_done(self) -> bool:
        """Whether there is an answer, or it failed."""
        return not self.is_alive()

    def run(self) -> None:
        """Make the request; called in the thread."""
        request = self._request
        try:
            status = send(
                request.method, self._url, self._headers, request.body, self._limit_s
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.failure = f"no answer: {str(error) or type(error).__name__}"
            return
        if status != request.status:
            self.failure = f"status {status}, not {request.status}"


def send(
    method: str, url: str, headers: Mapping[str, str], body: str, limit_s: float
) -> int:
    """Make a request and return its status, once all of the answer is here.

    Raises OSError, HTTPException and ValueError.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=limit_s
    )
    with closing(connection):
        connection.request(method, target, body.encode() or None, dict(headers))
        answer = connection.getresponse()
        left = _MOST
        while left > 0 and (piece := answer.read(_PIECE)):
            left -= len(piece)
        if left <= 0:
            raise ValueError("the answer is longer than 16 MB")
        return answer.status


def is_open(host: str, port: int) -> bool:
    """Tell whether something listens at the port of this machine."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
