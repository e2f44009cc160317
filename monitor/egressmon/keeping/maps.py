"""Maps of the probes that the agent may change, or read."""

from egressmon.keeping.protocol import CHANGED, ELEMENTS, READ
from egressmon.keeping.setup import KeeperSetup
from egressmon.probes.engine import Engine
from egressmon.probes.kernel import bpf

_MAX_NUMBERS = 1024


class Maps:
    """Changes and reads them for one agent. Each raises OSError, and ValueError."""

    def __init__(self, setup: KeeperSetup) -> None:
        self._setup = setup
        self._sizes = _sizes(setup.engine)

    def update(self, which: int, data: bytes) -> None:
        """Set an element of a map that the agent may change."""
        name = CHANGED[which]
        table, key, value = self._sizes[name]
        if len(data) != key + value:
            raise ValueError(len(data))
        bpf.update(table, data[:key], data[key:])

    def delete(self, which: int, data: bytes) -> None:
        """Remove an element of such a map."""
        table, key, _ = self._sizes[CHANGED[which]]
        if len(data) != key:
            raise ValueError(len(data))
        bpf.delete(table, data)

    def totals(self, which: int, data: bytes) -> list[list[int]]:
        """Return sums over the processors, of a map that the agent may read."""
        slots, width = ELEMENTS.unpack(data) if len(data) == ELEMENTS.size else (0, 0)
        if not 0 < slots * width <= _MAX_NUMBERS:
            raise ValueError(slots)
        if self._setup.kept is not None and READ[which] == "counters":
            self._setup.kept.note(self._setup.engine)
        return self._setup.engine.parts[0].totals(READ[which], slots, width)

    def skipped(self, part: int, _data: bytes) -> dict[str, int | None]:
        """Return how often programs of a part were skipped, by name."""
        return self._setup.engine.parts[part].skipped()


# For each map that the agent may change: (descriptor, size of a key, size of a value).
def _sizes(engine: Engine) -> dict[str, tuple[int, int, int]]:
    maps = {name: number for part in engine.parts for name, number in part.maps.items()}
    return {
        name: (maps[name], *bpf.element_sizes(maps[name]))
        for name in CHANGED
        if name in maps
    }
