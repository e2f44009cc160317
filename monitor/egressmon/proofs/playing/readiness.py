"""Find out whether a process is ready, from outside the scope."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from egressmon.proofs.plans.plan import Ready, Request
from egressmon.proofs.playing.errors import ScenarioError
from egressmon.proofs.playing.managed import Managed
from egressmon.proofs.playing.requests import Sending, is_open
from egressmon.proofs.playing.surroundings import Surroundings

_FIRST_TRY_S, _LONGEST_TRY_S = 0.05, 1.0
_TRY_LIMIT_S = 1.0


def require_unready(name: str, ready: Ready, around: Surroundings) -> None:
    """Raise ScenarioError if the process would be taken for ready before it started.

    Who answers then is another one.
    """
    place = _place_of(ready)
    if place is not None and is_open(*place):
        raise ScenarioError(
            f"{name}: something else listens at port {place[1]} already"
        )
    if ready.file is not None and Path(around.place(ready.file)).exists():
        raise ScenarioError(f"{name}: {ready.file} is there already")


def readiness(
    managed: Managed, ready: Ready, around: Surroundings
) -> Callable[[], bool]:
    """Return what tells, as often as it is called, whether the process is ready."""
    if ready.url is not None:
        return _asking(ready.url, ready.status)
    if ready.port is not None:
        port = ready.port
        return _patiently(lambda: is_open("127.0.0.1", port))
    if ready.file is not None:
        return Path(around.place(ready.file)).exists
    pattern = ready.log or ""
    return lambda: managed.log.has_line(pattern)


# Asks less and less often: each question is a connection in the evidence.
def _patiently(ask: Callable[[], bool]) -> Callable[[], bool]:
    state = {"next": 0.0, "pause": _FIRST_TRY_S}

    def asked() -> bool:
        now = time.monotonic()
        if now < state["next"]:
            return False
        if ask():
            return True
        state["next"] = now + state["pause"]
        state["pause"] = min(_LONGEST_TRY_S, 1.5 * state["pause"])
        return False

    return asked


# Each question is asked in a thread of its own: an answer may come byte by byte.
def _asking(url: str, status: int) -> Callable[[], bool]:
    request = Request(url=url, status=status)
    state: dict[str, Sending | None] = {"asked": None}

    def ask() -> bool:
        asked = state["asked"]
        if asked is not None and asked.is_done:
            if asked.failure is None:
                return True
            asked = None
        if asked is None:
            asked = Sending(request, url, {}, _TRY_LIMIT_S)
            asked.start()
        state["asked"] = asked
        return False

    return _patiently(ask)


def _place_of(ready: Ready) -> tuple[str, int] | None:
    if ready.port is not None:
        return "127.0.0.1", ready.port
    if ready.url is None:
        return None
    parts = urlsplit(ready.url)
    return parts.hostname or "", parts.port or 80


def condition(ready: Ready) -> str:
    if ready.url is not None:
        return f"{ready.url} did not answer with {ready.status}"
    if ready.port is not None:
        return f"port {ready.port} was not opened"
    if ready.file is not None:
        return f"{ready.file} was not made"
    return f"no line of its log matches {ready.log!r}"
