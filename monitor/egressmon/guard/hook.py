"""The audit hook: which events lead out, and what their refusal is.

CPython raises these events in C, before it acts, whatever Python code called it: so no
library, thread or later monkey-patch takes another way through Python's own sockets.
"""

from __future__ import annotations  # nothing is imported for them

import sys

from egressmon.guard.violation import EgressViolation

TYPE_CHECKING = False  # as `typing` has it, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

TRAFFIC = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendmsg",
        "socket.sendto",
    }
)
"""Events that ask for a destination, which is refused unless the policy allows it."""

REPORTED = frozenset(
    {
        "cpython.PyInterpreterState_New",
        "ctypes.dlsym",
        "ctypes.dlsym/handle",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
    }
)
"""Events by which something begins that the guard may not see; only told of."""

CREATED = "socket.__new__"
_ALIVE = "egressmon.guard.alive"
_ALL = TRAFFIC | REPORTED | {CREATED, _ALIVE}


def add(decide: Callable[[str, tuple[object, ...]], None]) -> bool:
    """Have `decide` asked at each event that leads out; return whether it is.

    Another audit hook may refuse to have this one added, which CPython does not tell.
    The hook stays until the interpreter ends.
    """
    seen: list[bool] = []
    # Names of this function's own: what is patched in a module later changes nothing.
    events, alive, violation, failure = _ALL, _ALIVE, EgressViolation, Exception

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in events:
            return
        if event == alive:
            seen.append(True)
            return
        try:
            decide(event, arguments)
        except violation:
            raise
        except failure as error:
            why = f"the guard itself failed ({type(error).__name__}: {error})"
            raise violation(None, None, why) from error

    sys.addaudithook(hook)
    sys.audit(_ALIVE)
    return bool(seen)
