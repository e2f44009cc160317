"""Search the names of files, and of the folders that they are in."""

from collections.abc import Iterator

from egressmon.sanitise.paths import found_in_name, shown_path
from egressmon.scan.search import Leak


class NameSearch:
    """Searches the parts of paths, those of folders once for all that is in them."""

    def __init__(self) -> None:
        self._last: list[str] = []

    def results(self, path: str) -> Iterator[Leak]:
        """Yield what is in the parts of `path` that the path before did not have."""
        parts = path.split("/")
        pairs = zip(parts, self._last, strict=False)
        known = next(
            (at for at, (one, other) in enumerate(pairs) if one != other),
            min(len(parts), len(self._last)),
        )
        self._last = parts
        for at in range(known, len(parts)):
            for hit in found_in_name(parts[at]):
                place = shown_path("/".join(parts[: at + 1]))
                yield Leak(place, None, None, hit.match.kind, hit.digest, hit.encodings)
