"""What passes between the process that reads and the one that keeps the rights.

One request, one answer, in datagrams over a socket pair. A request is two bytes and
fixed structures or a path; nothing in it is parsed any further. Answers come from whom
the other side depends on anyway: their rest is JSON.
"""

import json
import struct
from enum import IntEnum
from typing import Any

REQUEST = struct.Struct("=BB")
"""What is wanted, and a detail of it."""
ANSWER = struct.Struct("=i")
"""An error number; 0: done. What follows is JSON, or a descriptor comes with it."""
ELEMENTS = struct.Struct("=II")
"""How many elements of a map, and how many numbers in each."""
MAX_REQUEST = 8192
MAX_ANSWER = 1 << 16

CHANGED = ("interpreters", "census", "templates", "codes")
"""The maps that may be changed, by the detail of a request."""
READ = ("counters", "sent")
"""The maps that may be read."""


class Wanted(IntEnum):
    """What may be asked for."""

    OPEN = 1
    """A file: the detail is the kind, the rest the path."""
    UPDATE = 2
    """An element of a map: the detail is the map, the rest its key and value."""
    DELETE = 3
    """An element of a map to be removed: the rest is its key."""
    TOTALS = 4
    """The numbers in a map."""
    SKIPPED = 5
    """How often the kernel skipped a program; the detail says of which part."""
    DISARM = 6
    """That the canaries' addresses are refused no longer."""
    CANARIES = 7
    """New canaries, armed and sent from inside the scope."""
    GO = 8
    """That the command's process becomes the command."""
    REAP = 9
    """How the command ended: it is waited for."""
    PIDS = 10
    """Which processes are in the scope."""
    READY = 11
    """That the file is made which says that the probes are armed."""


def answer(code: int, rest: Any = None) -> bytes:
    """Return an answer's bytes."""
    text = b"" if rest is None else json.dumps(rest).encode()
    return ANSWER.pack(code) + text
