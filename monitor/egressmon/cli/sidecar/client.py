"""`egressmon sidecar status`, `mark`, `stop` and `reload`: ask a running sidecar."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

from egressmon.cli.requests import StopRequest
from egressmon.errors import PrivilegeError, UsageError
from egressmon.evidence.anchoring import anchor_of
from egressmon.privileges import privilege
from egressmon.privileges.privilege import User, acting_as
from egressmon.reports.runs import stopped as reports
from egressmon.reports.writing.page import Page
from egressmon.sidecar import tokens
from egressmon.sidecar.client import ANSWER_S, STOP_S, ask
from egressmon.sidecar.requests import why_no_phase
from egressmon.sidecar.stopped import Stopped, stopped_of
from egressmon.text import printable

_STDIN = 0
_MAX_LINES = 200
_MAX_LINE = 2000


def status(folder: str, *, as_json: bool) -> int:
    """Print how the sidecar of `folder` is doing; return the exit status."""
    answer = ask(folder, {"verb": "status"}, ANSWER_S)
    if as_json:
        _print_json(answer)
        return 0
    del answer["ok"]
    for count, line in enumerate(_lines(answer, "")):
        if count == _MAX_LINES:
            sys.stdout.write("…\n")
            break
        sys.stdout.write(f"{printable(line, _MAX_LINE)}\n")
    return 0


def mark(folder: str, phase: str) -> int:
    """Tell the sidecar of `folder` that `phase` begins; return the exit status."""
    if why := why_no_phase(phase):
        raise UsageError(why, "write a name such as build, or 'integration tests'")
    answer = ask(folder, {"verb": "mark", "phase": phase}, ANSWER_S)
    # A CI system's log, which the job cannot take back, then has it.
    run, records, head = (answer.get(name) for name in ("run", "records", "head"))
    if isinstance(records, int) and records and head is not None:
        line = anchor_of(str(run), records - 1, str(head))
        sys.stdout.write(f"{printable(line, _MAX_LINE)}\n")
    return 0


def reload(folder: str, token_file: str | None, *, stdin: bool) -> int:
    """Let the sidecar of `folder` read its policy again; return the exit status."""
    token = _token(token_file, _user(), stdin=stdin)
    answer = ask(folder, {"verb": "reload", **token}, ANSWER_S)
    found: Any = answer.get("policies")
    digests = cast("list[object]", found) if isinstance(found, list) else []
    if digests:
        text = f"judged by the policy {digests[-1]}, number {len(digests)}"
        sys.stdout.write(f"{printable(text, _MAX_LINE)}\n")
    return 0


def stop(request: StopRequest) -> int:
    """End the run of a sidecar, print how it went, and return its exit status."""
    user = _user()
    token = _token(request.token_file, user, stdin=request.token_stdin)
    report = request.report or (None if request.as_json else "plain")
    page = _summary_page(user) if report == "github" else None
    answer = ask(request.runtime, {"verb": "stop", **token}, STOP_S)
    stopped = stopped_of(answer)
    if request.as_json:
        _print_json(answer)
    with suppress(OSError, ValueError):  # the status is the run's, come what may
        _report(report, stopped, page)
    return stopped.exit_status


# Whose token file and summary page it may be. In doubt it is not known: that is no
# reason to leave the run going.
def _user() -> User | None:
    try:
        return privilege.invoking_user()
    except PrivilegeError:
        return None


def _token(path: str | None, user: User | None, *, stdin: bool) -> dict[str, str]:
    if stdin:
        return {"token": tokens.receive_token(_STDIN)}
    if path is not None:
        return {"token": tokens.read_token(path, () if user is None else (user.uid,))}
    return {}


def _report(form: str | None, stopped: Stopped, page: Page | None) -> None:
    if form == "github":
        reports.print_github(stopped, sys.stderr, page)
        if page is not None:
            page.close()
    elif form == "gitlab":
        reports.print_gitlab(stopped, sys.stderr)
    elif form == "plain":
        reports.print_plain(stopped, sys.stderr)


# A page that cannot be written is no reason to leave the run unconcluded.
def _summary_page(user: User | None) -> Page | None:
    path = None if user is None else user.environment.get(b"GITHUB_STEP_SUMMARY")
    if user is None or not path:
        return None
    try:
        with acting_as(user):
            return Page(path)
    except OSError as error:
        why = printable(error.strerror)
        sys.stderr.write(f"egressmon: no summary page: {why}\n")
        return None


def _print_json(answer: dict[str, Any]) -> None:
    text = json.dumps(answer)
    # What a CI system would obey is escaped as JSON escapes: `Commandless` does not.
    for part, escaped in (("##", "#\\u0023"), ("section_", "section\\u005f")):
        text = text.replace(part, escaped)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# A line for each fact; what is inside another is indented.
def _lines(found: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            if any(isinstance(one, dict | list) for one in inner.values()):
                yield f"{indent}{name}:"
                yield from _lines(inner, f"{indent}  ")
            else:
                facts = ", ".join(f"{one} {_plain(inner[one])}" for one in inner)
                yield f"{indent}{name}: {facts or 'none'}"
        elif isinstance(value, list):
            items = cast("Sequence[Any]", value)
            yield f"{indent}{name}: {', '.join(map(_plain, items)) or 'none'}"
        else:
            yield f"{indent}{name}: {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)
