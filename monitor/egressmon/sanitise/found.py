"""What was found where, and the search for a few bytes."""

from collections.abc import Iterator
from typing import NamedTuple


class Match(NamedTuple):
    """A secret: its place in the bytes that were searched, and its kind's name."""

    start: int
    end: int
    kind: str


def every(data: bytes, mark: bytes) -> Iterator[int]:
    """Yield each place of `mark` in `data`."""
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)
