"""Read a request: one line of JSON, from anybody."""

from typing import Any, cast

import orjson

from egressmon.text import commandless, printable
from egressmon.values import dataclass, field

MAX_REQUEST = 4096
"""In bytes, with the newline."""
MAX_PHASE = 100
"""The length of a phase's name, in characters."""
VERBS = ("status", "mark", "stop", "reload")


class RequestError(Exception):
    """What came is no request; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for."""

    verb: str
    phase: str | None = None
    """What `mark` begins."""
    token: str | None = field(default=None, repr=False)


def read_request(line: bytes) -> Request:
    """Return the request in `line`; raises RequestError.

    Keys that are unknown are ignored: a later client may send more.
    """
    try:
        found: Any = orjson.loads(line)
    except ValueError as error:
        raise RequestError("the request is not JSON") from error
    if not isinstance(found, dict):
        raise RequestError("the request is no JSON object")
    fields = cast("dict[str, Any]", found)
    verb = _text(fields, "verb")
    if verb not in VERBS:
        known = ", ".join(VERBS)
        raise RequestError(f"there is no such verb: write one of {known}")
    return Request(verb, _text(fields, "phase"), _text(fields, "token"))


def why_no_phase(name: str | None) -> str:
    """Return why `name` cannot be a phase's; "" if it can.

    It is text for people, on terminals and in the logs of CI systems: what would have
    to be escaped there is refused.
    """
    if not name:
        return "a phase needs a name"
    if len(name) > MAX_PHASE:
        return f"the name of a phase has at most {MAX_PHASE} characters"
    if name != name.strip():
        return "the name of a phase neither begins nor ends with a blank"
    if commandless(printable(name, MAX_PHASE)) != name:
        return (
            "the name of a phase holds what cannot be printed, or what a CI system "
            "would take for a command"
        )
    return ""


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{name} is no text")
    return value
