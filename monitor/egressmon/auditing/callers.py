"""For which packages something was reached, as the Python stacks show."""

import re
from collections.abc import Iterator

from egressmon.evidence.records.code import CodeRecord, StackRecord

_INSTALLED = re.compile(r".*/(?:site|dist)-packages/([^/]+)")
_MAX_SHOWN = 5
_MAX_KNOWN = 4096


class Callers:
    """Tells which installed packages are on a stack; what it knows is bounded."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    def packages(self, code: CodeRecord | None) -> tuple[str, ...]:
        """Return the packages on the stacks of `code`, the outermost first.

        They are called as their folders are, which a process could make up.
        """
        if code is None or not code.stacks:
            return ()
        found: dict[str, None] = {}
        referred = (code.started_by, code.created_by, code.stack)
        for one in referred:
            if one is not None:
                found |= dict.fromkeys(self._of(one.digest, one.record))
        return tuple(found)[:_MAX_SHOWN]

    def _of(self, digest: str, stack: StackRecord) -> tuple[str, ...]:
        known = self._known.get(digest)
        if known is None:
            known = tuple(dict.fromkeys(_on(stack)))
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[digest] = known
        return known


def _on(stack: StackRecord) -> Iterator[str]:
    for _, file, _ in reversed(stack.frames):
        name = stack.names[file] if file is not None else ""
        if found := _INSTALLED.match(name):
            yield found[1].removesuffix(".py")
