"""Attempts that were refused: told soon, but not one by one.

Anybody can make many; each that is told is a record of the evidence.
"""

from collections.abc import Callable

from egressmon.sidecar.permissions import Caller
from egressmon.values import dataclass

_FIRST_S, _LONGEST_S = 1.0, 64.0
_MAX_KEYS = 64

Tell = Callable[[str, Caller, str, int], None]
"""Takes the verb, the caller, why it was refused, and for how many attempts it stands:
that one, and those of its kind that were not told."""


@dataclass(slots=True)
class _Kind:
    verb: str
    caller: Caller
    reason: str
    due: float
    """When the next may be told (monotonic)."""
    pause_s: float
    untold: int = 0


class Attempts:
    """For each user and verb, one is told a second, and fewer when they go on.

    The first is told at once. The pause after it doubles, up to 64 s, as long as there
    are more. Users beyond the first 64 share one pause for each verb.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._kinds: dict[tuple[int | None, str], _Kind] = {}

    def note(self, verb: str, caller: Caller, reason: str, now: float) -> None:
        """Tell that `caller` was refused `verb`, now or with the next."""
        key: tuple[int | None, str] = (caller.uid, verb)
        if key not in self._kinds and len(self._kinds) >= _MAX_KEYS:
            key = (None, verb)
        kind = self._kinds.get(key)
        if kind is None:
            self._kinds[key] = _Kind(verb, caller, reason, now + _FIRST_S, _FIRST_S)
            self._tell(verb, caller, reason, 1)
            return
        kind.caller, kind.reason = caller, reason
        kind.untold += 1
        self.tell_due(now)

    def tell_due(self, now: float) -> None:
        """Tell what has waited long enough."""
        for key, kind in [*self._kinds.items()]:
            if now < kind.due:
                continue
            if not kind.untold:
                del self._kinds[key]
                continue
            kind.pause_s = min(kind.pause_s * 2, _LONGEST_S)
            kind.due = now + kind.pause_s
            self._tell_one(kind)

    def tell_all(self) -> None:
        """Tell all that has not been told yet."""
        for kind in self._kinds.values():
            if kind.untold:
                self._tell_one(kind)

    def due(self) -> float | None:
        """Return when something is to be told; None: there is nothing."""
        return min(
            (one.due for one in self._kinds.values() if one.untold), default=None
        )

    def _tell_one(self, kind: _Kind) -> None:
        count, kind.untold = kind.untold, 0
        self._tell(kind.verb, kind.caller, kind.reason, count)
