"""`EgressGuard`: install the guard, pin a call to one destination, keep a ledger."""

from __future__ import annotations  # nothing is imported for them

import os

from egressmon.guard import hook, resolving, source
from egressmon.guard.mark import marked
from egressmon.guard.state import STATE

TYPE_CHECKING = False  # as `typing` has it, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from egressmon.guard.pins import Pinned


class EgressGuard:
    """The guard of this process. It narrows what the process reaches, and never widens.

    Once installed it stays. What is installed again, with another policy, applies
    beside it: a destination must be allowed by each.
    """

    @classmethod
    def install(
        cls, policy: str | os.PathLike[str] | None = None, *, digest: str | None = None
    ) -> None:
        """Refuse from now on what `policy` does not allow.

        `policy` is a file; None: the nearest one upward from the working directory, as
        for `watch`. With `digest`, a file of another SHA-256 is not used. A policy that
        cannot be used refuses every destination, and standard error says so. Raises
        RuntimeError if another audit hook keeps this one out.
        """
        if policy is None:
            from pathlib import Path  # noqa: PLC0415 -- slow

            from egressmon.guard.judging import nearest  # noqa: PLC0415 -- slow

            begin(nearest(Path.cwd(), digest))
        else:
            begin(source.read(_absolute(policy), digest))

    @staticmethod
    def is_installed() -> bool:
        """Tell whether this process has the guard."""
        return bool(STATE.sources)

    @staticmethod
    def decisions(path: str | os.PathLike[str]) -> None:
        """Write each decision to the file `path` from now on, one JSON object a line.

        It is a ledger to compare with the kernel's evidence. Where a decision cannot be
        written, such as on a full disk, the destination is refused.
        """
        with STATE.lock:
            STATE.ledger_path, STATE.ledger = _absolute(path), None

    @staticmethod
    def pinned_to(*destinations: str) -> Pinned:
        """Return a context manager, `with` or `async with`, that narrows to these.

        Each is HOST:PORT. Inside, also across `await`, this context reaches only what
        is among them and allowed by the policy; other threads are as they were. Raises
        ValueError for one that is malformed. To enter raises EgressViolation if the
        policy does not allow one of them, RuntimeError if no guard is installed.
        """
        from egressmon.guard.pins import Pinned  # noqa: PLC0415 -- only where it is used

        return Pinned(destinations)


def begin(found: source.Source, *, has_line: bool = False) -> None:
    """Install the guard with the policy `found`, unless it has that already.

    `has_line`: the environment's start-up line does it, and so in children, too.
    """
    with STATE.lock:
        STATE.has_line = STATE.has_line or has_line
        if any(found.is_like(one) for one in STATE.sources):
            return
        is_first = not STATE.sources
        STATE.sources.append(found)
    if found.problem is not None:
        from egressmon.guard.unusable import tell_unusable  # noqa: PLC0415 -- rare

        tell_unusable(found.path, found.problem)
    if not is_first:
        return
    if not hook.add(_decide):
        STATE.sources.clear()
        raise RuntimeError(
            "another audit hook of this process keeps egressmon's guard out: install "
            "the guard first"
        )
    resolving.wrap()
    _kept.append(marked())


_kept: list[object] = []
"""The mark, for as long as the process runs."""
_loaded: list[Callable[[str, tuple[object, ...]], None]] = []


# Most of the guard is imported as the first destination is asked for, and kept,
# whatever a program does with sys.modules later.
def _decide(event: str, arguments: tuple[object, ...]) -> None:
    if event == hook.CREATED:
        resolving.wrap_class()
        return
    if not _loaded:
        from egressmon.guard.deciding import decide  # noqa: PLC0415 -- see above

        _loaded.append(decide)
    _loaded[0](event, arguments)


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.fspath(path))  # noqa: PTH100 -- pathlib is slow
