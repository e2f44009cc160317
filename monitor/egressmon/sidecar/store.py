"""The service manager's descriptor store: what is left there outlives this process.

sd_pid_notify_with_fds(3), without its library. What is left is handed over at the next
start of the service (sd_listen_fds(3)), after a crash as after `systemctl restart`.
`systemctl stop` empties the store.
"""

import fcntl
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal

from egressmon.sidecar.notifying import Notifier

NAME = "egressmon-probes"
"""What all that we leave is called."""
_FIRST = 3
_MOST = 4096
_MOST_OURS = 254
"""One more than can be: who looks at them refuses so many."""
_MAX_NUMBER = 9


class DescriptorStore:
    """What one service may leave with its manager."""

    by: Literal["systemd"] = "systemd"
    outlives_signals = True
    """Whether a signal may be the beginning of a restart: then all is left there."""

    def __init__(self, notifier: Notifier) -> None:
        """`notifier` reaches the manager."""
        self._notifier = notifier

    def keep(self, descriptors: Sequence[int]) -> None:
        """Leave copies of `descriptors` there; raises OSError."""
        text = f"FDSTORE=1\nFDNAME={NAME}\nFDPOLL=0"
        self._notifier.send(text, descriptors)

    def forget(self) -> None:
        """Have all of it removed."""
        with suppress(OSError):
            self._notifier.send(f"FDSTOREREMOVE=1\nFDNAME={NAME}")

    def let_go(self) -> None:
        """Close nothing: nothing is open."""


def handed_over(environment: Mapping[bytes, bytes], pid: int) -> list[int]:
    """Return copies of what was left, as systemd hands it to the process `pid`.

    What else it hands over, or does not as systemd does, is none of ours. Raises
    OSError if what should be is not open.
    """
    count = environment.get(b"LISTEN_FDS", b"")
    if environment.get(b"LISTEN_PID") != b"%d" % pid:
        return []
    if not (count.isdigit() and len(count) <= _MAX_NUMBER and int(count) <= _MOST):
        return []
    names = environment.get(b"LISTEN_FDNAMES", b"").split(b":")
    if len(names) != int(count):
        return []
    found: list[int] = []
    try:
        for number, name in enumerate(names, _FIRST):
            if name == NAME.encode() and len(found) < _MOST_OURS:
                found.append(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST))
    except OSError:
        for one in found:
            os.close(one)
        raise
    return found
