"""Choose an engine and load it, beside other work."""

import threading
from typing import Literal, TypeAlias, get_args

from egressmon.probes.engine import Engine
from egressmon.probes.errors import MachineError, ProbeError

Choice: TypeAlias = Literal["auto", "libbpf", "bcc"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


def load(choice: Choice) -> Engine:
    """Return the engine of choice with its probes in the kernel; raises ProbeError.

    `auto` is libbpf (no compiler, no headers), and BCC where libbpf cannot do it;
    `Engine.reason` says which it became, and why.
    """
    if choice == "bcc":
        return _bcc("asked for")
    try:
        return _libbpf("preferred" if choice == "auto" else "asked for")
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
def _libbpf(reason: str) -> Engine:
    from egressmon.probes import libbpf  # noqa: PLC0415

    return Engine(libbpf.load(), reason)


def _bcc(reason: str) -> Engine:
    from egressmon.probes import bcc  # noqa: PLC0415

    return Engine(bcc.load(), reason)


class Preparation:
    """An engine that is being loaded beside other work (it takes 0.1 s)."""

    def __init__(self, choice: Choice) -> None:
        self._engine: Engine | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, args=(choice,), daemon=True)
        self._thread.start()

    def _work(self, choice: Choice) -> None:
        try:
            self._engine = load(choice)
        except Exception as error:  # noqa: BLE001 -- raised again by engine()
            self._error = error

    def engine(self) -> Engine:
        """Return the loaded engine; raises ProbeError where it cannot be had."""
        self._thread.join()
        if self._engine is not None:
            return self._engine
        raise self._error or ProbeError(
            "no engine was loaded", "run `egressmon doctor`"
        )
