"""Choose an engine and load it, beside other work."""

from typing import Literal, TypeAlias, get_args

from egressmon.probes.engine import Engine, FrameProbes
from egressmon.probes.errors import MachineError, ProbeError
from egressmon.probes.loaders.beside import Beside

Choice: TypeAlias = Literal["auto", "libbpf", "bcc"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


def load(choice: Choice, *, frames: bool = False) -> Engine:
    """Return the engine of choice with its probes in the kernel; raises ProbeError.

    `auto` is libbpf (no compiler, no headers), and BCC where libbpf cannot do it;
    `Engine.reason` says which it became, and why. With frames, Python frames are
    read where that can be; `Engine.no_frames` says why not.
    """
    if choice == "bcc":
        return _bcc("asked for")
    try:
        return _libbpf("preferred" if choice == "auto" else "asked for", frames)
    except MachineError:
        raise  # nor would BCC
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


# Each is imported when it is used: `watch` must be armed soon.
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
    """An engine that is being loaded beside other work (it takes 0.2 s)."""

    def __init__(self, choice: Choice = "auto", *, frames: bool = False) -> None:
        self.asked = choice, frames
        self._work = Beside(lambda: load(choice, frames=frames))

    def engine(self) -> Engine:
        """Return the loaded engine; raises ProbeError where it cannot be had."""
        return self._work.result()
