"""Which containers are watched, of all that are there.

Left out is only what its engine confirms to be another: what is not known is watched,
with the reason. Nobody leaves what is watched by being gone before an engine answers,
nor by the name of a cgroup.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum

from egressmon.containers.wanted import Wanted
from egressmon.evidence.records.lasting import ContainerRecord, Watched
from egressmon.values import dataclass, replace

PATIENCE_S = 10.0
"""How long it may be open whether a container is meant."""
MAX_CONTAINERS = 16384
_LATE = f"whether it is meant was not known after {PATIENCE_S:.0f} s"
_OUTER = "what it is in is watched"
_DISTRUSTED = "a process of it reached a container engine before that answered"


class Fate(IntEnum):
    """What becomes of what a container does. Of several, the highest holds."""

    OUTSIDE = 0
    """It is of no container."""
    OTHER = 1
    """It is another's, and not recorded."""
    OPEN = 2
    WATCHED = 3


@dataclass(frozen=True, slots=True)
class _Standing:
    watched: Watched
    until: float
    """In monotonic seconds; while it is open."""


class Choice:
    """Judges of each container whether it is watched."""

    def __init__(self, wanted: tuple[Wanted, ...]) -> None:
        """Choose the containers that any of `wanted` means."""
        self.wanted = wanted
        self._known: OrderedDict[str, _Standing] = OrderedDict()
        self._distrusted: set[str] = set()
        self._open: OrderedDict[str, None] = OrderedDict()
        self._proved: set[Wanted] = set()

    def unmatched(self) -> list[str]:
        """Return what no container was proved to be."""
        return [str(one) for one in self.wanted if one not in self._proved]

    def counts(self) -> dict[str, int]:
        """Return how many containers are known as watched, another, and so on."""
        found: dict[str, int] = dict.fromkeys(("yes", "no", "doubt", "open"), 0)
        for one in self._known.values():
            found[one.watched] += 1
        return found

    def judged(
        self, one: ContainerRecord, *, is_open: bool, is_whole: bool
    ) -> ContainerRecord:
        """Return `one` with whether it is watched.

        `is_open`: its engine has not answered yet; `is_whole`: all that it knows of the
        container is in `one`.
        """
        watched, reason = self._judge(one, is_open=is_open, is_whole=is_whole)
        before = self._known.get(one.key)
        until = before.until if before is not None else time.monotonic() + PATIENCE_S
        if watched == "open":
            self._open[one.key] = None
        else:
            self._open.pop(one.key, None)
        self._known[one.key] = _Standing(watched, until)
        if len(self._known) > MAX_CONTAINERS:
            self.forget(next(iter(self._known)))
        return replace(one, watched=watched, watched_reason=reason)

    def fate(self, keys: Iterable[str]) -> Fate:
        """Return what becomes of what the containers with these `keys` do together."""
        return max((self._fate(key) for key in keys), default=Fate.OUTSIDE)

    def distrust(self, keys: Iterable[str]) -> None:
        """Let no answer that is still to come leave out the containers `keys`."""
        self._distrusted |= self._open.keys() & set(keys)

    def late(self) -> list[str]:
        """Return the keys of those about which it was open for too long."""
        now = time.monotonic()
        found: list[str] = []
        for key in self._open:  # in the order of time
            if self._known[key].until > now:
                break
            found.append(key)
        return found

    def given_up(self, one: ContainerRecord, why: str = _LATE) -> ContainerRecord:
        """Return `one`, about which it is open, as watched because of `why`."""
        self._open.pop(one.key, None)
        self._known[one.key] = _Standing("doubt", 0.0)
        return replace(one, watched="doubt", watched_reason=why)

    def forget(self, key: str) -> None:
        """Forget a container: what is not known is watched."""
        self._known.pop(key, None)
        self._open.pop(key, None)
        self._distrusted.discard(key)

    def open(self) -> list[str]:
        """Return the keys of those about which it is open."""
        return list(self._open)

    # What was forgotten, as there were too many, is watched: nothing else is known.
    def _fate(self, key: str) -> Fate:
        known = self._known.get(key)
        if known is None or known.watched in {"yes", "doubt"}:
            return Fate.WATCHED
        return Fate.OPEN if known.watched == "open" else Fate.OTHER

    def _judge(
        self, one: ContainerRecord, *, is_open: bool, is_whole: bool
    ) -> tuple[Watched, str | None]:
        fits = {each: each.fits(one, is_whole=is_whole) for each in self.wanted}
        meant = [each for each, does_fit in fits.items() if does_fit]
        self._proved.update(each for each in meant if each.is_proved_by(one))
        if meant:
            return "yes", None
        if one.outer is not None:
            return self._as_outer(one.outer)
        if is_open:
            return "open", None
        doubt = self._doubt(one, fits.values())
        return ("no", None) if doubt is None else ("doubt", doubt)

    def _doubt(self, one: ContainerRecord, fits: Iterable[bool | None]) -> str | None:
        if not one.confirmed:
            return one.reason
        if None in fits:
            return "its engine did not say all that is asked for"
        return _DISTRUSTED if one.key in self._distrusted else None

    # What is inside another is of that: nobody asks the engine in there.
    def _as_outer(self, outer: str) -> tuple[Watched, str | None]:
        known = self._known.get(outer)
        if known is None or known.watched == "yes":
            return "yes", _OUTER
        return known.watched, "as it is of what it is in"
