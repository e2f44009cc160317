"""What the guard of this process knows: its policies, names, pins and ledger."""

from __future__ import annotations  # nothing is imported for them

import _thread
import os
from _contextvars import ContextVar

from egressmon.guard.known import Known

TYPE_CHECKING = False  # as `typing` has it, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from egressmon.guard.decisions import Decision
    from egressmon.guard.destinations import HostPort
    from egressmon.guard.judging import Rules
    from egressmon.guard.ledger import Ledger
    from egressmon.guard.source import Source

PINS: ContextVar[tuple[frozenset[HostPort], ...]] = ContextVar(
    "egressmon.guard.pins", default=()
)
"""What the current context is pinned to: a destination must be in each set."""


class State:
    """There is one in a process; a child by fork goes on with its copy."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        """The policies: a destination must be allowed by each."""
        self.rules: dict[int, Rules] = {}
        """By place in `sources`, once a destination is judged."""
        self.known = Known()
        self.ledger_path: str | None = None
        self.ledger: Ledger | None = None
        """Opened as the first decision is written there."""
        self.observers: list[Callable[[Decision], None]] = []
        """Each is told of what was refused, and of what the guard may not see."""
        self.narrowed: tuple[frozenset[HostPort], ...] = ()
        """What all of the process is pinned to, whatever the context."""
        self.is_local: Callable[[], bool] = _never
        """Whether loopback is open in this thread and context: a test's fixture."""
        self.has_line = False
        """Whether the environment's start-up line installed it, as in children."""
        self.passed: dict[object, float] = {}
        """What was allowed lately, by its event: until when that need not be asked."""
        self.told: set[object] = set()
        """What was logged already."""
        self.lock = _thread.RLock()
        self.loading: int | None = None
        """The thread that parses a policy, which asks for no destination meanwhile."""

    def renew_lock(self) -> None:
        """Make a lock for a child by fork: the thread that holds it is not there."""
        self.lock = _thread.RLock()
        self.loading = None
        self.known.renew_lock()


def _never() -> bool:
    return False


STATE = State()
os.register_at_fork(after_in_child=STATE.renew_lock)
