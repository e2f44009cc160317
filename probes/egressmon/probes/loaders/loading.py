"""Choose an engine and load it, at once or in a thread."""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from egressmon.probes.engine import NOT_ASKED_FOR, Engine
from egressmon.probes.errors import MachineError, ProbeError
from egressmon.probes.frames import FrameProbes
from egressmon.probes.loaders.beside import Beside
from egressmon.probes.loaders.kernel_types import KernelTypes

Choice: TypeAlias = Literal["auto", "libbpf", "bcc"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


Stored: TypeAlias = Callable[[str], bytes | None]
"""Returns what was kept of the kernel's types under a key, if anything."""


def load(
    choice: Choice, *, frames: bool = False, stored: Stored = lambda _: None
) -> Engine:
    """Load the probes with the engine `choice` and return it; raises ProbeError.

    "auto" is libbpf (which needs neither compiler nor headers), or BCC if libbpf fails;
    `Engine.reason` says why. With `frames`, the programs that read Python frames are
    loaded too; if they cannot be, `Engine.no_frames` says why. `stored` is asked for
    what `to_store` made in an earlier run: libbpf is faster with it.
    """
    if choice == "bcc":
        return _bcc("asked for")
    try:
        return _libbpf("preferred" if choice == "auto" else "asked for", frames, stored)
    except MachineError:
        raise  # BCC could not do it, either
    except ProbeError as error:
        if choice == "libbpf":
            raise
        return _instead(error)


def load_for_found(*, frames: bool = False) -> Engine:
    """Load the probes for a scope that was there before the run; raises ProbeError.

    Always by libbpf, and without what an earlier run kept: such a run lasts.
    """
    return _by_libbpf("preferred", frames, None, found=True)


def _instead(error: ProbeError) -> Engine:
    try:
        return _bcc(f"libbpf could not do it: {error}")
    except MachineError:
        raise
    except ProbeError as second:
        raise ProbeError(
            f"{error}; nor could BCC do it: {second}",
            error.hint,
            f"{error.log}\n{second.log}".strip(),
        ) from second


# Each loader is imported only when used, so that `watch` starts fast.
def _libbpf(reason: str, frames: bool, stored: Stored) -> Engine:  # noqa: FBT001 -- load()'s
    from egressmon.probes.loaders import kernel_types, libbpf  # noqa: PLC0415

    key = kernel_types.key(*libbpf.images())
    types = kernel_types.unpacked(stored(key) if key is not None else None)
    has_differed = False
    if types is not None and types.serve(frames=frames):
        engine = _by_types(types, reason, frames)
        if engine is not None:
            return engine
        has_differed = True
    engine = _by_libbpf(reason, frames, None)
    engine.types_key = None if types == kernel_types.USELESS else key
    engine.has_differed = has_differed
    return engine


# An engine by what was kept of the kernel's types; None if its programs are others.
def _by_types(
    types: KernelTypes,
    reason: str,
    frames: bool,  # noqa: FBT001 -- as above
) -> Engine | None:
    from egressmon.probes.loaders import kernel_types  # noqa: PLC0415

    try:
        engine = _by_libbpf(reason, frames, types.btf)
    except ProbeError:
        return None
    found = kernel_types.tags(*engine.parts)
    if found.items() <= types.tags.items() and (not frames or engine.frames):
        return engine
    engine.close()
    return None


def _by_libbpf(
    reason: str,
    frames: bool,  # noqa: FBT001 -- as above
    types: bytes | None,
    *,
    found: bool = False,
) -> Engine:
    from egressmon.probes.loaders import libbpf  # noqa: PLC0415

    if not frames:
        return Engine(libbpf.load(types=types, found=found), reason)
    loaded, with_frames = libbpf.load_with_frames(types=types, found=found)
    if isinstance(with_frames, ProbeError):
        engine = Engine(loaded, reason)
        engine.no_frames = str(with_frames)
        return engine
    return Engine(loaded, reason, FrameProbes(with_frames))


def to_store(engine: Engine) -> bytes | None:
    """Return what `load` is to be given the next time under `engine.types_key`.

    None if there is nothing to keep. What made other probes than the kernel's own types
    is not tried again under the same key. Takes 0.1 s. Raises OSError, ProbeError and
    BtfError.
    """
    is_whole = engine.frames is not None or engine.no_frames == NOT_ASKED_FOR
    if engine.types_key is None or not is_whole:
        return None
    from egressmon.probes.loaders import kernel_types, libbpf  # noqa: PLC0415

    if engine.has_differed:
        return kernel_types.packed(kernel_types.USELESS)
    known = kernel_types.tags(*engine.parts)
    return kernel_types.packed(kernel_types.of_running_kernel(libbpf.images(), known))


def _bcc(reason: str) -> Engine:
    from egressmon.probes.loaders import bcc  # noqa: PLC0415

    engine = Engine(bcc.load(), reason)
    engine.no_frames = "BCC compiles no loops with a body of their own (bpf_loop)"
    return engine


class Preparation:
    """An engine that is being loaded in a thread, which takes 0.2 s."""

    def __init__(
        self,
        choice: Choice = "auto",
        *,
        frames: bool = False,
        stored: Stored = lambda _: None,
    ) -> None:
        self.asked = choice, frames
        self._work = Beside(lambda: load(choice, frames=frames, stored=stored))

    def engine(self) -> Engine:
        """Wait for the engine and return it; raises ProbeError if loading failed."""
        return self._work.result()
