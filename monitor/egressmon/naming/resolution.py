"""Resolve the host names in the policy, in threads that do not hold up the run."""

import ipaddress
import socket
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from egressmon.events.model import Address
from egressmon.naming.names import Names

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy
    from egressmon.policy.language.search import SearchList

_WORKERS = 8
_PATIENCE_S = 2.0  # meanwhile the ring holds events: 10,000 connects a second for 4 s


class PolicyResolution:
    """Finds the addresses of the policy's host names.

    This gives a name to connections whose look-up was before the run. The threads
    are not waited for at exit.
    """

    def __init__(self, policy: "AnyPolicy", names: Names, search: "SearchList") -> None:
        """`search` is the resolver's: it completes short names, and no whole ones."""
        hosts = {
            entry.host
            for entry in policy.allow
            if entry.host is not None and "*" not in entry.host
        }
        self._names = names
        self._search = search
        self._todo: SimpleQueue[str] = SimpleQueue()
        for host in sorted(hosts):
            self._todo.put(host)
        self._found: SimpleQueue[tuple[Address, str]] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(len(hosts), _WORKERS))
        ]
        self._is_started = False
        self._waited = False

    def start(self) -> None:
        """Start to resolve, if that was not done yet, and return at once."""
        if self._is_started:
            return
        self._is_started = True
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while True:
            try:
                host = self._todo.get_nowait()
            except Empty:
                return
            # Behind a dot at the end nothing is added, whatever became of the answer.
            asked = host if self._search.is_short(host) else f"{host}."
            for address in _addresses(asked):
                self._found.put((address, host))

    def finish(self) -> None:
        """Hand what was found to the names; the first call waits up to two seconds.

        To be called before the first verdict on an address without a name.
        """
        if not self._waited:
            self._waited = True
            self.start()  # whatever has already been seen
            deadline = time.monotonic() + _PATIENCE_S
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        while not self._found.empty():
            address, host = self._found.get()
            self._names.learn(address, host, "policy-resolution")


# A name that does not resolve has no addresses: that is no error. The policy holds
# names as A-labels already. For text, Python would load the codec `idna` first, which
# this process, without rights, may not be able to read (a Python below /root).
def _addresses(host: str) -> set[Address]:
    try:
        answers = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {
        ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers
    }
