"""Which names lead to which others (CNAME, DNAME), by answers that are trusted."""

from collections import OrderedDict
from collections.abc import Iterable

_MAX_NAMES = 16384
_MAX_PER_NAME = 16


class Aliases:
    """Names and the aliases that their answers led by; the oldest go if too many."""

    def __init__(self) -> None:
        self._targets: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._origins: OrderedDict[str, dict[str, None]] = OrderedDict()
        self.version = 0
        """Another number once any other answer is returned than before."""

    def learn(self, name: str, targets: Iterable[str]) -> None:
        """Note that the answer about `name` led on to `targets`."""
        origins = (name, *self.origins((name,)))
        for target in targets:
            for origin in origins:
                if target != origin:
                    fresh = _put(self._targets, origin, target)
                    fresh |= _put(self._origins, target, origin)
                    self.version += fresh

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
