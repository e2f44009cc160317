"""Tell the service manager how a sidecar is doing: sd_notify(3), without its library.

The keeper tells it, as the unit's main process, and what it says is fixed but for two
numbers: the agent, which asks for it, could name another main process otherwise.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import IntEnum

_MAX_PATH = 107
_MAX_DIGITS = 18
_LEAST_S = 0.5
_PATIENCE_S = 5.0
_CONCLUDING_US = 3600 * 1_000_000


class State(IntEnum):
    """What the service manager is told."""

    READY = 1
    """It watches: its canaries were seen. Also the end of a reload."""
    WATCHDOG = 2
    """It goes on."""
    RELOADING = 3
    """It reads its policy again."""
    CONCLUDING = 4
    """It reads its evidence back, which takes as long as that is large."""
    STOPPING = 5
    """It ends."""


class Notifier:
    """A service manager that wants to be told."""

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        """`address` is that of its socket; `@` stands for a NUL at the beginning."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        """How often it must be told that the run goes on; None: it need not."""

    def tell(self, state: State, connections: int, violations: int) -> None:
        """Tell it, with what was counted so far; if it does not listen, do nothing."""
        status = f"STATUS={connections} connections, {violations} in violation"
        text = {
            State.READY: f"READY=1\n{status}",
            State.WATCHDOG: f"WATCHDOG=1\n{status}",
            State.RELOADING: f"RELOADING=1\nMONOTONIC_USEC={_monotonic_us()}",
            State.CONCLUDING: f"WATCHDOG_USEC={_CONCLUDING_US}\n{status}",
            State.STOPPING: f"STOPPING=1\n{status}",
        }[state]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(text.encode(), self._address)

    def send(self, text: str, descriptors: Sequence[int] = ()) -> None:
        """Send it `text`, and copies of `descriptors`: wait 5 s at most.

        Raises OSError.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(_PATIENCE_S)
            out.connect(self._address)
            if descriptors:
                socket.send_fds(out, [text.encode()], list(descriptors))
            else:
                out.send(text.encode())


def notifier_of(environment: Mapping[bytes, bytes], pid: int) -> Notifier | None:
    """Return who is to be told, as systemd says it to the process `pid`; None: nobody.

    What is not as systemd writes it is taken for nobody's.
    """
    address = os.fsdecode(environment.get(b"NOTIFY_SOCKET", b""))
    if not address.startswith(("/", "@")) or len(os.fsencode(address)) > _MAX_PATH:
        return None
    return Notifier(address, _watchdog_s(environment, pid))


# Twice as often as it must be.
def _watchdog_s(environment: Mapping[bytes, bytes], pid: int) -> float | None:
    if environment.get(b"WATCHDOG_PID", b"%d" % pid) != b"%d" % pid:
        return None
    text = environment.get(b"WATCHDOG_USEC", b"")
    if not (text.isdigit() and len(text) < _MAX_DIGITS and int(text)):
        return None
    return max(int(text) / 2e6, _LEAST_S)


def _monotonic_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
