"""Resolve the policy's own host names at start, beside the run and not in its way."""

import ipaddress
import socket
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from egressmon.events.model import Address
from egressmon.naming.names import Names

if TYPE_CHECKING:
    from egressmon.policy.model import AnyPolicy

_WORKERS = 8
_PATIENCE_S = 2.0  # the ring holds four seconds of 10,000 connects each


class PolicyResolution:
    """Names that the command may have cached before the run are found this way.

    The look-ups run in threads that nobody waits for at exit; `finish` waits
    for them, once and bounded, before the first verdict on a nameless address.
    """

    def __init__(self, policy: "AnyPolicy", names: Names) -> None:
        hosts = {
            entry.host
            for entry in policy.allow
            if entry.host is not None and "*" not in entry.host
        }
        self._names = names
        self._todo: SimpleQueue[str] = SimpleQueue()
        for host in sorted(hosts):
            self._todo.put(host)
        self._found: SimpleQueue[tuple[Address, str]] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(len(hosts), _WORKERS))
        ]
        self._waited = False

    def start(self) -> None:
        """Begin to resolve; returns at once."""
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while True:
            try:
                host = self._todo.get_nowait()
            except Empty:
                return
            for address in _addresses(host):
                self._found.put((address, host))

    def finish(self) -> None:
        """Take over what was found, and wait the first time for the rest."""
        if not self._waited:
            self._waited = True
            deadline = time.monotonic() + _PATIENCE_S
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        while not self._found.empty():
            address, host = self._found.get()
            self._names.learn(address, host, "policy-resolution")


# A name that does not resolve is simply not known beforehand.
def _addresses(host: str) -> set[Address]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a label that IDNA does not take
        return set()
    return {
        ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers
    }
