"""Choose an engine and load it, at once or in a thread."""

from typing import Literal, TypeAlias, get_args

from egressmon.probes.engine import Engine, FrameProbes
from egressmon.probes.errors import MachineError, ProbeError
from egressmon.probes.loaders.beside import Beside

Choice: TypeAlias = Literal["auto", "libbpf", "bcc"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


def load(choice: Choice, *, frames: bool = False) -> Engine:
    """Load the probes with the engine `choice` and return it; raises ProbeError.

    "auto" is libbpf (which needs neither compiler nor headers), or BCC if libbpf fails;
    `Engine.reason` says why. With `frames`, the programs that read Python frames are
    loaded too; if they cannot be, `Engine.no_frames` says why.
    """
    if choice == "bcc":
        return _bcc("asked for")
    try:
        return _libbpf("preferred" if choice == "auto" else "asked for", frames)
    except MachineError:
        raise  # BCC could not do it, either
    except ProbeError as error:
        if choice == "libbpf":
            raise
        return _instead(error)


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
def _libbpf(reason: str, frames: bool) -> Engine:  # noqa: FBT001 -- load()'s
    from egressmon.probes.loaders import libbpf  # noqa: PLC0415

    if not frames:
        return Engine(libbpf.load(), reason)
    loaded, with_frames = libbpf.load_with_frames()
    if isinstance(with_frames, ProbeError):
        engine = Engine(loaded, reason)
        engine.no_frames = str(with_frames)
        return engine
    return Engine(loaded, reason, FrameProbes(with_frames))


def _bcc(reason: str) -> Engine:
    from egressmon.probes.loaders import bcc  # noqa: PLC0415

    engine = Engine(bcc.load(), reason)
    engine.no_frames = "BCC compiles no loops with a body of their own (bpf_loop)"
    return engine


class Preparation:
    """An engine that is being loaded in a thread, which takes 0.2 s."""

    def __init__(self, choice: Choice = "auto", *, frames: bool = False) -> None:
        self.asked = choice, frames
        self._work = Beside(lambda: load(choice, frames=frames))

    def engine(self) -> Engine:
        """Wait for the engine and return it; raises ProbeError if loading failed."""
        return self._work.result()
