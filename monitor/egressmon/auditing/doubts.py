"""Why evidence does not say all: each is told of, and many alike are counted."""

from egressmon.values import dataclass, field

_MAX = 1000


@dataclass(slots=True)
class Doubts:
    """What is missing in evidence, or could not be read."""

    told: list[str] = field(default_factory=list[str])
    """Texts that may quote what others wrote: to be escaped as they are shown."""
    more: int = 0
    """How many are not told of, because there are too many."""

    def add(self, text: str) -> None:
        """Note `text`."""
        if len(self.told) < _MAX:
            self.told.append(text)
        else:
            self.more += 1

    def lines(self) -> list[str]:
        """Return all, and how many more there are."""
        return [*self.told, *([f"{self.more} more such lines"] if self.more else [])]
