"""`egressmon baseline`: write down what runs reach, as it was reviewed."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from egressmon.cli.drifting.handshaking import Asking, shake_hands
from egressmon.cli.policy.output import PolicyOutput
from egressmon.drift.comparable import is_empty, why_not_one
from egressmon.drift.handshakes import known_names, tables_of, tls_problems
from egressmon.drift.held import held
from egressmon.drift.merging import merged
from egressmon.drift.model import Content, Review
from egressmon.drift.surface import surface_of
from egressmon.drift.toml_form import digest_of, text_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.errors import UsageError
from egressmon.policy.reading.file import find_policy, load_policy
from egressmon.reports.writing.explaining import safe
from egressmon.values import dataclass, replace

_MAX_SHOWN = 100
_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """`egressmon baseline write`."""

    evidence: list[str]
    output: str
    force: bool
    empty: bool
    policy: str | None = None
    """Whose hosts are asked; None: the one that `watch` would take."""
    asking: Asking | None = None
    """None: no host is asked."""


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """`egressmon baseline update`."""

    baseline: str
    evidence: list[str]
    """None: the baseline is taken as somebody edited it."""
    reviewed_by: str | None
    reason: str | None
    keep_gone: bool
    empty: bool
    policy: str | None = None
    """Whose hosts are asked; None: the one that `watch` would take."""
    asking: Asking | None = None
    """None: no host is asked, and what the baseline has of them is kept."""


def write(request: WriteRequest) -> int:
    """Write a baseline of the evidence to the output; return the exit status."""
    content = _content(request.evidence, empty=request.empty)
    if content is not None and request.asking is not None:
        content = _with_tls(content, request.policy, request.asking)
    if content is None:
        return 2
    _write(request.output, text_of(content, ()), force=request.force)
    return 0


def update(request: UpdateRequest) -> int:
    """Replace a baseline after a review; return the exit status."""
    by = _said(request.reviewed_by, "--reviewed-by NAME")
    reason = _said(request.reason, "--reason TEXT")
    with held(request.baseline):
        return _update(request, by, reason)


def _update(request: UpdateRequest, by: str, reason: str) -> int:
    before = read_baseline(request.baseline)
    content = before.content
    if request.evidence:
        found = _content(request.evidence, empty=request.empty)
        if found is None:
            return 2
        content = merged(content, found) if request.keep_gone else found
        content = replace(content, tls=before.content.tls)
    if request.asking is not None:
        asked = _with_tls(content, request.policy, request.asking)
        if asked is None:
            return 2
        content = asked
    today = datetime.now(UTC).date().isoformat()
    review = Review(by, reason, today, digest_of(content))
    _write(request.baseline, text_of(content, (*before.reviews, review)), force=True)
    return 0


def _said(text: str | None, option: str) -> str:
    shown = safe(text or "", _MAX_TEXT).strip()
    if not shown:
        raise UsageError(
            f"an update says who reviewed it, and why: {option} is missing",
            "egressmon baseline update BASELINE EVIDENCE --reviewed-by NAME "
            "--reason TEXT",
        )
    return shown


def _content(evidence: list[str], *, empty: bool) -> Content | None:
    surface = surface_of(evidence)
    content = surface.plain()
    problems = why_not_one(surface)
    if not empty and not problems and is_empty(content):
        problems.append(
            "an empty run: it connected to nothing, and looked nothing up (--empty "
            "takes it)"
        )
    for note in surface.notes[:_MAX_SHOWN]:
        sys.stderr.write(f"egressmon: note: {safe(note)}\n")
    tell_problems(problems)
    return None if problems else content


# With what the hosts have that the policy allows; None if nothing is known of one.
def _with_tls(content: Content, policy: str | None, asking: Asking) -> Content | None:
    file = Path(policy) if policy is not None else None
    loaded = load_policy(file or find_policy(Path.cwd()))
    shaken = shake_hands(loaded.policy, {*known_names(content)}, asking)
    problems = [*tls_problems(shaken)]
    tell_problems(problems)
    for one in shaken:
        for found in one.findings:
            said = safe(f"{one.place}: {found.kind}: {found.text}")
            sys.stderr.write(f"egressmon: note: {said}\n")
    return None if problems else replace(content, tls=tables_of(shaken))


def tell_problems(problems: list[str]) -> None:
    """Print why runs are not comparable."""
    for one in problems[:_MAX_SHOWN]:
        sys.stderr.write(f"egressmon: not comparable: {safe(one)}\n")
    if (more := len(problems) - _MAX_SHOWN) > 0:
        sys.stderr.write(f"egressmon: {more} more such reasons\n")


def _write(path: str, text: str, *, force: bool) -> None:
    output = PolicyOutput(path, force=force, what="baseline")
    try:
        output.write(text)
        if why := output.finish():
            raise UsageError(why, "name a writable file with --output")
    except OSError as error:
        raise UsageError(
            f"the baseline could not be written to {path}: {error.strerror}",
            "name another file with --output",
        ) from error
    finally:
        output.abandon()
