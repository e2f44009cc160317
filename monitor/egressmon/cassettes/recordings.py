"""What `--egress-cassettes` has of VCR: its misses, and its recordings cleaned.

VCR has no hook that holds for each cassette whatever conftest.py and the tests say: so
its class VCR and its error are replaced in part while pytest runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from egressmon.cassettes.addresses import clean_address
from egressmon.cassettes.hooks import before_record_request, before_record_response
from egressmon.text import printable

Hook = Callable[[Any], Any]
_HOOKS: dict[str, Hook] = {
    "before_record_request": before_record_request,
    "before_record_response": before_record_response,
}


class Miss(NamedTuple):
    """A request without a recorded answer."""

    method: str
    address: str
    cassette: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.method} {self.address} (cassette {self.cassette})"


def take_over(missed: Callable[[Miss], None]) -> Callable[[], None]:
    """Clean all that VCR records and compares, and have `missed` called for each miss.

    Also for a miss whose error the program hides. Return what undoes it; without VCR,
    there is nothing to do.
    """
    try:
        from vcr import VCR, errors  # noqa: PLC0415 -- an extra
    except ImportError:
        return lambda: None
    vcr = cast("Any", VCR)
    error = cast("Any", errors).CannotOverwriteExistingCassetteException
    merged, init = vcr.get_merged_config, error.__init__
    vcr.get_merged_config = _cleaning(merged)
    error.__init__ = _telling(init, missed)

    def undo() -> None:
        vcr.get_merged_config, error.__init__ = merged, init

    return undo


# Last of all, so that nothing that others' hooks add is left as it was.
def _cleaning(merged: Callable[..., Any]) -> Callable[..., Any]:
    def with_hooks(self: Any, **settings: Any) -> dict[str, Any]:
        found = dict(merged(self, **settings))
        for name, ours in _HOOKS.items():
            found[name] = _both(found.get(name), ours)
        return found

    return with_hooks


def _both(theirs: Hook | None, ours: Hook) -> Hook:
    def hook(value: Any) -> Any:
        value = theirs(value) if theirs is not None else value
        return None if value is None else ours(value)

    return hook


def _telling(
    before: Callable[..., None], missed: Callable[[Miss], None]
) -> Callable[..., None]:
    def init(self: Any, *words: Any, **named: Any) -> None:
        missed(_miss(named.get("cassette"), named.get("failed_request")))
        before(self, *words, **named)

    return init


def _miss(cassette: Any, request: Any) -> Miss:
    address = clean_address(str(getattr(request, "uri", "?")))
    path = getattr(cassette, "_path", "?")
    method = printable(getattr(request, "method", "?"), 20)
    return Miss(method, printable(address, 500), printable(path, 1000))
