"""Keep the probes beyond a crash or a restart, for the run that follows.

The keeper does it, which has them. What is said of the run comes from before the agent
was started, and what was told of losses from the kernel: nothing is the agent's.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, Protocol

from egressmon.probes.engine import Engine
from egressmon.probes.loaders.kept import Expected, Facts, descriptors
from egressmon.values import dataclass


class Store(Protocol):
    """Where descriptors stay beyond this process."""

    @property
    def by(self) -> Literal["systemd", "bpffs"]:
        """Who keeps them."""
        ...

    @property
    def outlives_signals(self) -> bool:
        """Whether a signal may be the beginning of a restart."""
        ...

    def keep(self, descriptors: Sequence[int]) -> None:
        """Leave copies of `descriptors` there; raises OSError."""
        ...

    def forget(self) -> None:
        """Remove all that is there."""
        ...

    def let_go(self) -> None:
        """Close what this process has open of it."""
        ...


@dataclass(slots=True)
class Keeping:
    """What is kept of one run, and where."""

    store: Store
    expected: Expected
    run: str
    facts: Facts | None = None
    """Those of what was taken up; None: nothing was."""
    why_not: str = ""
    """Why what was handed over was not taken up; empty: it was, or nothing was."""
    is_fresh: bool = True
    """Whether the probes are this run's own."""
    failure: str = ""
    """Why they cannot be kept."""

    def hold(self, engine: Engine) -> None:
        """Leave the probes in the store, once they are attached.

        That this fails changes nothing for this run; `failure` says why.
        """
        if self.facts is not None:
            return  # it has them
        self.store.forget()
        try:
            self.facts = Facts.make()
            self.store.keep([*descriptors(engine), self.facts.table])
        except OSError as error:
            self.failure = error.strerror or str(error)
            self.store.forget()

    def begin(self, engine: Engine) -> None:
        """Say that they are this run's, as its evidence has begun."""
        if self.facts is not None and not self.failure:
            with suppress(OSError):
                self.facts.write(engine, self.expected, self.run)

    def note(self, engine: Engine) -> None:
        """Note what the agent asks of losses, which it will record."""
        if self.facts is not None:
            with suppress(OSError):
                self.facts.note(engine)

    def end(self, *, began: bool, in_order: bool, by_signal: bool) -> None:
        """Empty the store, unless another run is to go on from here.

        `began` says whether the evidence has, `in_order` that it has its end.
        `by_signal` says that a signal asked for that.
        """
        is_restart = by_signal and self.store.outlives_signals
        if not began:
            # By these, canaries may not have been seen: then the next one needs others.
            is_over = self.is_fresh or not is_restart
        else:
            is_over = in_order and not is_restart
        if is_over:
            self.store.forget()

    def abandon(self) -> None:
        """Empty the store where nothing was begun, if only this run's own is there."""
        if self.is_fresh:
            self.store.forget()

    def let_go(self) -> None:
        """Close the facts, in the process that may not have them."""
        self.store.let_go()
        if self.facts is not None:
            self.facts.close()
            self.facts = None
