"""What may be asked of the run through its control socket."""

from typing import Any, Protocol

from egressmon.sidecar.permissions import Caller


class Acts(Protocol):
    """The run's side. None of it waits."""

    def status(self) -> dict[str, Any]:
        """Return how it goes, for anybody to see."""
        ...

    def mark(self, name: str, caller: Caller) -> dict[str, Any]:
        """Begin the phase `name`: a claim of the caller's.

        Returns how far the evidence is then: `run`, `records` and `head`.
        """
        ...

    def stop(self, caller: Caller, *, is_concluded: bool, reason: str) -> None:
        """End soon, and call `answer_stop` then.

        It is called once without a conclusion and once with one, at most.
        """
        ...

    def reload(self, caller: Caller, reason: str) -> str:
        """Read the policy again; return why that failed, or "".

        `reason` says why the caller may ask for it.
        """
        ...

    def policies(self) -> list[str]:
        """Return the digest of each policy that the run was judged by, in order."""
        ...

    def attempt(self, verb: str, caller: Caller, reason: str, count: int) -> None:
        """Record that `caller` was refused `verb`; it stands for `count` attempts."""
        ...
