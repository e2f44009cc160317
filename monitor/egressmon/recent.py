"""What was used of late: a bounded number of values, without a clock of its own."""

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Values by key, none of them None, in two halves: what was used, and the rest.

    Whenever the first half is full, or at `turn`, the second half is let go of, and
    the first becomes the second: what is used again returns to the first. So nothing
    that is in use is lost, and no order of use has to be kept.
    """

    __slots__ = ("_bytes", "_half", "_half_bytes", "_new", "_old", "_size_of")

    def __init__(
        self,
        most: int,
        most_bytes: int = 0,
        size_of: Callable[[_Value], int] | None = None,
    ) -> None:
        """Keep `most` values; with `size_of`, of `most_bytes` together."""
        self._half = most // 2
        self._half_bytes = most_bytes // 2
        self._size_of = size_of
        self._bytes = 0
        self._new: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}

    def get(self, key: _Key) -> _Value | None:
        """Return the value at `key`, which is used now; None: there is none."""
        value = self._new.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: _Key, value: _Value) -> None:
        """Keep `value`, in the place of what was at `key`."""
        size = self._size_of(value) if self._size_of is not None else 0
        is_full = len(self._new) >= self._half and key not in self._new
        if is_full or self._bytes + size > self._half_bytes:
            self.turn()
        self._old.pop(key, None)
        self._bytes += size
        self._new[key] = value

    def pop(self, key: _Key) -> None:
        """Let go of what is at `key`, if anything is."""
        self._new.pop(key, None)
        self._old.pop(key, None)

    def turn(self) -> None:
        """Let go of what was not used since the last turn."""
        self._old, self._new = self._new, {}
        self._bytes = 0

    def clear(self) -> None:
        """Let go of all."""
        self.turn()
        self.turn()

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._new) + len(self._old)

    def __iter__(self) -> Iterator[_Key]:
        """Yield the keys."""
        yield from self._new
        yield from self._old
