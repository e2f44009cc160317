"""Keep track of the agent's own steps that failed while the run went on."""

from collections.abc import Generator
from contextlib import contextmanager

from egressmon.sanitise import sanitise_text
from egressmon.values import dataclass

_MAX_MESSAGE = 200


@dataclass(slots=True)
class _Fault:
    first: str
    count: int = 0


class Faults:
    """The steps that failed. Each makes the run incomplete; none ends the run."""

    def __init__(self, *, verbose: bool = False) -> None:
        """With `verbose`, print the traceback of each failure."""
        self._verbose = verbose
        self._of_step: dict[str, _Fault] = {}
        self.count = 0
        """How often any step failed."""

    def note(self, step: str, error: Exception) -> None:
        """Note that `step` failed with `error`."""
        if self._verbose:
            import traceback  # noqa: PLC0415 -- slow, and rarely needed

            traceback.print_exception(error)
        fault = self._of_step.setdefault(step, _Fault(describe(error)))
        fault.count += 1
        self.count += 1

    @contextmanager
    def isolated(self, step: str) -> Generator[None]:
        """Note any exception that the `with` block raises as a failure of `step`.

        The exception goes no further: what follows the block runs.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- the next step must run
            self.note(step, error)

    def doubts(self) -> list[str]:
        """Return a sentence for each step that failed."""
        return [
            f"{step} failed"
            + (f" {fault.count} times, first" if fault.count > 1 else "")
            + f": {fault.first}"
            for step, fault in self._of_step.items()
        ]


def describe(error: Exception) -> str:
    """Return the class and message of `error`, shortened and without secrets."""
    return f"{type(error).__name__}: {message(error)}"


def message(error: Exception) -> str:
    """Return the message of `error`, cut to 200 characters and without secrets."""
    return sanitise_text(str(error)[: 5 * _MAX_MESSAGE])[:_MAX_MESSAGE]
