"""What was found where, and the search for a few bytes."""

from collections.abc import Iterator
from typing import NamedTuple


class Match(NamedTuple):
    """A secret: its place in the bytes that were searched, and its kind's name."""

    start: int
    end: int
    kind: str


class Run(NamedTuple):
    """A run of base64's characters, with the lines that belong to it."""

    start: int
    end: int
    is_wrapped: bool
    is_folded: bool = False
    """Whether more than blanks may divide its lines."""


class Sought(NamedTuple):
    """What is searched."""

    data: bytes
    small: bytes
    """The same in small letters."""
    runs: list[Run]


def every(data: bytes, mark: bytes) -> Iterator[int]:
    """Yield each place of `mark` in `data`."""
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


def regions(
    size: int, hits: Iterator[int], before: int, behind: int
) -> Iterator[tuple[int, int]]:
    """Yield what is around the `hits` in `size` bytes; what overlaps, as one."""
    region: tuple[int, int] | None = None
    for hit in hits:
        start, end = max(0, hit - before), min(size, hit + behind)
        if region is not None and start > region[1]:
            yield region
            region = None
        region = (start if region is None else region[0], end)
    if region is not None:
        yield region
