"""Which names lead to which others (CNAME, DNAME), by answers that are trusted."""

from collections import OrderedDict
from collections.abc import Iterable

_MAX_NAMES = 16384
_WHOLE_RUN = 1 << 63  # in ns since boot
_MAX_PER_NAME = 16


class Aliases:
    """Names and the aliases that their answers led by; the oldest go if too many."""

    def __init__(self) -> None:
        self._targets: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._origins: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._until: dict[str, int] = {}
        """Until when an answer about a name holds, or one that led to it."""
        self.version = 0
        """Another number once any other answer is returned than before."""

    def learn(
        self, name: str, targets: Iterable[str], until_ns: int = _WHOLE_RUN
    ) -> None:
        """Note that the answer about `name` led on to `targets`.

        What is learned is kept until `until_ns`, in kernel time, if there is room.
        """
        targets = tuple(targets)
        if not targets:
            return
        origins = (name, *self.origins((name,)))
        for one in (*origins, *targets):
            self._until[one] = max(self._until.get(one, 0), until_ns)
        for target in targets:
            for origin in origins:
                if target != origin:
                    fresh = _put(self._targets, origin, target)
                    fresh |= _put(self._origins, target, origin)
                    self.version += fresh
        if len(self._until) > 2 * _MAX_NAMES:
            self._keep_known()

    def forget(self, now_ns: int) -> None:
        """Let go of the names of which no answer holds any more at `now_ns`."""
        over = [name for name, until in self._until.items() if until < now_ns]
        for name in over:
            self._targets.pop(name, None)
            self._origins.pop(name, None)
        if over:
            self.version += 1
            self._keep_known()

    def _keep_known(self) -> None:
        self._until = {
            name: until
            for name, until in self._until.items()
            if name in self._targets or name in self._origins
        }

    def targets(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names that `names` lead to."""
        return _all(self._targets, names)

    def origins(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names that lead to `names`: those that were asked for first."""
        return _all(self._origins, names)


# Returns whether anything is known now that was not, or the other way round.
def _put(known: OrderedDict[str, dict[str, None]], key: str, value: str) -> bool:
    values = known.setdefault(key, {})
    known.move_to_end(key)
    if value in values:
        return False
    values[value] = None
    if len(values) > _MAX_PER_NAME:
        del values[next(iter(values))]
    if len(known) > _MAX_NAMES:
        known.popitem(last=False)
    return True


def _all(
    known: OrderedDict[str, dict[str, None]], names: Iterable[str]
) -> tuple[str, ...]:
    found = (value for name in names for value in known.get(name, ()))
    return tuple(dict.fromkeys(found))
