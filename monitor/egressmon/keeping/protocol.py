"""The protocol between the agent, which asks, and the keeper, which answers.

Each request gets one answer, both one datagram over a socket pair. A request is two
bytes, then fixed structures or a path, so that the keeper need not parse anything from
the agent. The agent trusts the keeper: answers may hold JSON.
"""

import json
import struct
from enum import IntEnum
from typing import Any

REQUEST = struct.Struct("=BB")
"""The service (`Service`), and a detail whose meaning depends on it."""
ANSWER = struct.Struct("=i")
"""An errno, or 0 for success. JSON follows, or a descriptor comes with it."""
ELEMENTS = struct.Struct("=II")
"""The number of a map's elements, and how many numbers are in each."""
COUNTS = struct.Struct("=QQ")
"""How many connections were seen, and how many of them in violation."""
NUMBER = struct.Struct("=I")
"""The number of a segment of the evidence."""
MAX_REQUEST = 8192
MAX_ANSWER = 1 << 16
PIECE = MAX_REQUEST - REQUEST.size
"""How many bytes of a manifest go in one request."""
FIRST, LAST = 1, 2
"""Bits of a request's detail: which piece of a manifest it is."""
MAX_SEGMENTS = 2000
"""How many files the evidence of a run may have; the last takes what is left."""
MAX_MANIFEST = 1 << 20
"""In bytes; that of so many segments is smaller."""

CHANGED = ("interpreters", "census", "templates", "codes")
"""The maps that the agent may change; a request's detail is an index of this."""
READ = ("counters", "sent")
"""The maps that the agent may read; a request's detail is an index of this."""


class Service(IntEnum):
    """What the agent may ask for."""

    OPEN = 1
    """Open a file. The detail is a `files.Kind`, the rest is the path."""
    UPDATE = 2
    """Set an element of a map. The detail is the map, the rest is key and value."""
    DELETE = 3
    """Remove an element of a map. The detail is the map, the rest is the key."""
    TOTALS = 4
    """Return the numbers in a map. The detail is the map, the rest is `ELEMENTS`."""
    SKIPPED = 5
    """Return how often the kernel skipped each program of the part in the detail."""
    DISARM = 6
    """Stop refusing the canaries' addresses."""
    CANARIES = 7
    """Send new canaries from inside the scope."""
    GO = 8
    """Let the command's process execute the command; return 0 or its errno."""
    REAP = 9
    """Wait for the command, and return its wait status."""
    PIDS = 10
    """Return the pids of the processes in the scope."""
    READY = 11
    """Create the file that says that the probes are armed."""
    END = 12
    """End the command, which only waits: in a run without one of its own."""
    ATTACHED = 13
    """Return how many probes still are attached, and how many should be."""
    OPEN_SEGMENT = 14
    """Make the next segment of the evidence, and open it. The rest is `NUMBER`."""
    REOPEN = 15
    """Open a segment that was made, for reading. The rest is `NUMBER`."""
    REPLACE = 16
    """Take a piece of the run's manifest. The detail is `FIRST` and `LAST`."""
    OPEN_POLICY = 32
    """Open the policy that was named at the start, as it is now."""
    NOTIFY = 33
    """Tell the service manager. The detail is what, the rest is `COUNTS`."""
    SWEEP = 48
    """Remove members of the scope whose process is gone, and return how many."""


def answer(code: int, rest: Any = None) -> bytes:
    """Return the bytes of an answer with errno `code` (0: success) and JSON `rest`."""
    text = b"" if rest is None else json.dumps(rest).encode()
    return ANSWER.pack(code) + text
