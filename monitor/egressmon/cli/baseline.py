"""`egressmon baseline`: write down what runs reach, as it was reviewed."""

import sys
from datetime import UTC, datetime

from egressmon.cli.policy_output import PolicyOutput
from egressmon.drift.comparable import is_empty, why_not_one
from egressmon.drift.merging import merged
from egressmon.drift.model import Content, Review
from egressmon.drift.surface import surface_of
from egressmon.drift.toml_form import digest_of, text_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.errors import UsageError
from egressmon.reports.explaining import safe
from egressmon.values import dataclass, replace

_MAX_SHOWN = 100
_MAX_TEXT = 1000


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


def write(evidence: list[str], output: str, *, force: bool, empty: bool) -> int:
    """Write a baseline of `evidence` to `output`; return the exit status."""
    content = _content(evidence, empty=empty)
    if content is None:
        return 2
    _write(output, text_of(content, ()), force=force)
    return 0


def update(request: UpdateRequest) -> int:
    """Replace a baseline after a review; return the exit status."""
    by = _said(request.reviewed_by, "--reviewed-by NAME")
    reason = _said(request.reason, "--reason TEXT")
    before = read_baseline(request.baseline)
    content = before.content
    if request.evidence:
        found = _content(request.evidence, empty=request.empty)
        if found is None:
            return 2
        content = merged(content, found) if request.keep_gone else found
        content = replace(content, tls=before.content.tls)
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


def tell_problems(problems: list[str]) -> None:
    """Print why runs are not comparable."""
    for one in problems[:_MAX_SHOWN]:
        sys.stderr.write(f"egressmon: not comparable: {safe(one)}\n")
    if (more := len(problems) - _MAX_SHOWN) > 0:
        sys.stderr.write(f"egressmon: {more} more such reasons\n")


def _write(path: str, text: str, *, force: bool) -> None:
    output = PolicyOutput(path, force=force, what="the baseline")
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
