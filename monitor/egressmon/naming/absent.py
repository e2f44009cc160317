"""Names that do not exist: resolver libraries complete those by the search list."""

from collections import OrderedDict

_MAX = 16384


class Absent:
    """Names that a trusted answer says do not exist; the oldest go if too many."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self.version = 0
        """How often a name was added or removed: what rests on them rests on this."""

    def __contains__(self, name: str) -> bool:
        """Tell whether the last answer about `name` says that there is none."""
        return name in self._names

    def note(self, name: str, *, is_there: bool) -> None:
        """Note what an answer about `name` says."""
        was_there = name not in self._names
        self._names.pop(name, None)
        self.version += was_there != is_there
        if is_there:
            return
        self._names[name] = None
        if len(self._names) > _MAX:
            self._names.popitem(last=False)
