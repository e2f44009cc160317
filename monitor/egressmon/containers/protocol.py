"""What the agent asks of the asker, and how that answers."""

import struct
from enum import IntEnum

REQUEST = struct.Struct("=IB64s")
"""A number of the agent's choice, the source (an index), and the container's id."""
ANSWER = struct.Struct("=IBI")
"""That number, how it went (`Told`), and the uid of who owns the source. What the
source said follows, if it did."""
MAX_BYTES = 128 << 10
"""Of what a source says."""
MAX_AT_ONCE = 16
"""How many containers are asked for at one time."""
PATIENCE_S = 2.0


class Told(IntEnum):
    """How a question went."""

    ALL = 0
    ABSENT = 1
    """The source is not there."""
    REFUSED = 2
    LATE = 3
    HUGE = 4
