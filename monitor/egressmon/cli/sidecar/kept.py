"""Go on with the probes that the sidecar before this one left, or load them."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from egressmon.cli.requests import SidecarRequest
from egressmon.clock import kernel_ns
from egressmon.keeping.kept import Keeping, Store
from egressmon.probes.engine import Engine
from egressmon.probes.loaders.kept import Expected, NotKeptError, take_up
from egressmon.probes.loaders.loading import load_for_found
from egressmon.sensor.found_scope import require_machine, watched_folder
from egressmon.sensor.scope import find_root
from egressmon.sidecar.notifying import Notifier
from egressmon.sidecar.pins import PinFolder
from egressmon.sidecar.store import DescriptorStore, handed_over
from egressmon.startup import environment

_BY_LINEAGE = "what is watched goes by who started it"


class Left(NamedTuple):
    """What the sidecar before this one left for it."""

    descriptors: list[int]
    store: Store | None
    """Where this one is to leave its own; None: nowhere."""
    failure: str = ""
    """Why it cannot be had."""


def find_left(notifier: Notifier | None, pins: str | None) -> Left:
    """Return what is there: with the service manager, or in the folder `pins`.

    The manager is root's own, as in `notifier`. Call it before what the caller left
    open is closed. Raises PinFolderError.
    """
    if pins is not None:
        folder = PinFolder(pins)
        try:
            return Left(folder.found(), folder)
        except OSError as error:
            return Left([], folder, f"they cannot be opened: {error.strerror}")
    if notifier is None:
        return Left([], None)
    store = DescriptorStore(notifier)
    variables = environment.variables(environment.original())
    try:
        return Left(handed_over(variables, os.getpid()), store)
    except OSError as error:
        return Left([], store, f"they cannot be had: {error.strerror}")


def engine_of(
    left: Left, request: SidecarRequest, run: str, *, by_lineage: bool
) -> tuple[Engine, Keeping | None]:
    """Return the engine of the run, made of what was `left` if that fits, or loaded.

    With it comes what keeps it for the next run. Raises ProbeError, and ScopeError.
    """
    frames = request.attribution == "full"
    if left.store is None:
        return load_for_found(frames=frames), None
    if by_lineage:
        kept = Keeping(_Nowhere(left.store), _expected(request), run)
        kept.why_not = _BY_LINEAGE if left.descriptors else ""
        _close(left.descriptors)
        return load_for_found(frames=frames), kept
    kept = Keeping(left.store, _expected(request), run, why_not=left.failure)
    if left.descriptors:
        try:
            found = take_up(left.descriptors, kept.expected, kernel_ns())
        except NotKeptError as error:
            kept.why_not = str(error)
        else:
            if found is not None:
                engine, kept.facts = found
                kept.is_fresh = False
                return engine, kept
    return load_for_found(frames=frames), kept


class _Nowhere:
    """Keeps nothing, and empties what is there."""

    outlives_signals = False

    def __init__(self, store: Store) -> None:
        self.by: Literal["systemd", "bpffs"] = store.by
        self._store = store

    def keep(self, descriptors: object) -> None:
        """Keep nothing."""

    def forget(self) -> None:
        """Remove what is there."""
        self._store.forget()

    def let_go(self) -> None:
        """Close what is open of it."""
        self._store.let_go()


def _expected(request: SidecarRequest) -> Expected:
    require_machine()
    root = find_root()
    named = Path(request.cgroup) if request.cgroup is not None else None
    watched = watched_folder(root, named)
    return Expected(
        scope=os.fsencode(watched),
        root_id=root.stat().st_ino,
        watched_id=watched.stat().st_ino,
        frames=request.attribution == "full",
    )


def _close(descriptors: list[int]) -> None:
    for one in descriptors:
        os.close(one)
