"""Pin a call to some destinations: narrower than the policy, in this context alone."""

from contextlib import suppress
from contextvars import Token

from egressmon.guard.callers import caller
from egressmon.guard.deciding import all_rules, refuse
from egressmon.guard.decisions import Decision
from egressmon.guard.destinations import HostPort
from egressmon.guard.state import PINS, STATE


def pins_of(destinations: tuple[str, ...]) -> frozenset[HostPort]:
    """Return what `destinations` name; raises ValueError."""
    return frozenset(map(HostPort.parse, destinations))


def require_allowed(pins: frozenset[HostPort]) -> None:
    """Raise EgressViolation if the policy does not allow one of `pins`."""
    for pin in sorted(pins, key=str):
        for rules in all_rules():
            verdict = rules.explain(pin, is_local=STATE.is_local())
            if verdict.word == "violation":
                host = str(pin.host)
                is_name = isinstance(pin.host, str)
                refuse(
                    Decision(
                        "pin", host, None if is_name else host, pin.port, pin.protocol,
                        "violation", verdict.rule, verdict.reason, caller(),
                    )
                )  # fmt: skip


class Pinned:
    """A context manager, to be entered once, with `with` or `async with`."""

    def __init__(self, destinations: tuple[str, ...]) -> None:
        self._pins = pins_of(destinations)
        self._token: Token[tuple[frozenset[HostPort], ...]] | None = None

    def __enter__(self) -> None:
        if not STATE.sources:
            raise RuntimeError(
                "no guard is installed, so nothing can be pinned: call "
                "EgressGuard.install() first"
            )
        if self._token is not None:
            raise RuntimeError("a pin can be entered once: make another")
        require_allowed(self._pins)
        self._token = PINS.set((*PINS.get(), self._pins))

    def __exit__(self, *_: object) -> None:
        # Left in another context, such as by a generator that is closed elsewhere:
        # that one was never pinned.
        if self._token is not None:
            with suppress(ValueError):
                PINS.reset(self._token)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()
