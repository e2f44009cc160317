"""Which values are in the evidence already, so that they are written only once."""

from collections import OrderedDict

_MAX = 2048
_MAX_BYTES = 64 << 20
"""Of the lines of remembered values: a reader has to keep them."""


class Remembered:
    """Digests of the values in a file. One that was forgotten is written again."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[bytes, int] = OrderedDict()
        """The size of each line, by the bytes of its digest: half of what its text
        takes."""
        self._bytes = 0

    def knows(self, digest: str) -> bool:
        """Tell whether a value is in the file; then it was used just now."""
        known = bytes.fromhex(digest)
        if known not in self._sizes:
            return False
        self._sizes.move_to_end(known)
        return True

    def add(self, digest: str, size: int) -> None:
        """Note that a value was written, as a line of `size` bytes."""
        self._sizes[bytes.fromhex(digest)] = size
        self._bytes += size
        while len(self._sizes) > _MAX or self._bytes > _MAX_BYTES:
            self._bytes -= self._sizes.popitem(last=False)[1]

    def forget(self) -> None:
        """Forget all: in another file, each must be written again."""
        self._sizes.clear()
        self._bytes = 0
