"""Let go of the probes' members whose process is gone, in a run that lasts.

A process leaves the kernel's map `lineage` at its end. Where the kernel skipped both
programs that tell of an end, its element would stay: the map has room for 65,536, and
another process may get its number.
"""

import errno
from collections.abc import Callable
from contextlib import suppress

from egressmon.probes.kernel import bpf

MOST_LOOKED_AT = 2048
"""How many elements a sweep looks at; the next one goes on there."""
_MOST_MISSING = 65536
_ENOTSUPP = 524  # include/linux/errno.h: it is none of user space's
_CANNOT_TAKE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, _ENOTSUPP})


class Lineage:
    """Sweeps the members of the scope in the kernel's map `table`."""

    def __init__(self, table: int, is_there: Callable[[int], bool]) -> None:
        """`is_there` tells whether any process has a pid."""
        self._table = table
        self._key, self._value = bpf.element_sizes(table)
        self._is_there = is_there
        self._at: bytes | None = None
        self._missing: dict[bytes, bytes] = {}
        """Those that were gone when they were last looked at, as they were."""
        self._can_take = True

    def sweep(self) -> int:
        """Remove whose process was gone at two sweeps; return how many these are.

        Before Linux 5.14 none is removed: nothing tells there whether what was removed
        is what was looked at. Raises OSError.
        """
        if not self._can_take:
            return 0
        gone = [key for key in self._next() if not self._is_there(_pid(key))]
        return sum(map(self._remove_at_second_sight, gone))

    # From a key that was removed meanwhile, the kernel begins anew.
    def _next(self) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(MOST_LOOKED_AT):
            self._at = bpf.next_key(self._table, self._at, self._key)
            if self._at is None:
                break
            found.append(self._at)
        return found

    def _remove_at_second_sight(self, key: bytes) -> bool:
        try:
            value = bpf.lookup(self._table, key, self._value)
            if self._missing.get(key) != value:
                self._note(key, value)
                return False
            del self._missing[key]
            return self._remove(key, value)
        except FileNotFoundError:  # its end was told meanwhile
            self._missing.pop(key, None)
            return False

    def _note(self, key: bytes, value: bytes) -> None:
        if len(self._missing) >= _MOST_MISSING:
            self._missing.clear()
        self._missing[key] = value

    # Another process may have got its number just now: what it has is put back, unless
    # more is known of it by then.
    def _remove(self, key: bytes, value: bytes) -> bool:
        try:
            taken = bpf.take(self._table, key, self._value)
        except OSError as error:
            if error.errno not in _CANNOT_TAKE:
                raise
            self._can_take = False
            return False
        if taken != value:
            with suppress(FileExistsError):
                bpf.add(self._table, key, taken)
            return False
        return True


def _pid(key: bytes) -> int:
    return int.from_bytes(key, "little")
