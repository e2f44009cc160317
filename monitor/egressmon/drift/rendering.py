"""A comparison as a table, Markdown, JSON or annotations: whatever it quotes, escaped.

Every text passes `safe` here, or a gate of `reports.workflow` that does the same.
"""

from collections.abc import Iterator
from typing import Any, Literal, TextIO, TypeAlias

from egressmon.drift.findings import SCHEMA, Change, Comparison
from egressmon.drift.model import Run, Texts, Who
from egressmon.reports.writing.explaining import safe
from egressmon.reports.writing.json_text import json_text
from egressmon.reports.writing.workflow import Annotation, cell, write_annotations

Form: TypeAlias = Literal["table", "json", "markdown", "github"]
FORMS: tuple[Form, ...] = ("table", "json", "markdown", "github")
_MAX_ROWS = 1000
_MAX_CELLS = 200
_MAX_VALUES = 8
_WIDEST = 60
_LEVELS = {"drift": "warning", "note": "notice"}


def write(found: Comparison, form: Form, stream: TextIO, bare: TextIO) -> None:
    """Write `found` to `stream`.

    CI commands are broken in what is written to `stream`, and not in `bare`: so only
    annotations go there.
    """
    if form == "json":
        stream.write(json_text(_as_json(found), indent=1) + "\n")
    elif form == "markdown":
        stream.writelines(f"{line}\n" for line in _markdown(found))
    else:
        if form == "github":
            write_annotations([*_annotations(found)], bare)
        stream.writelines(f"{line}\n" for line in _table(found))


def headline(found: Comparison) -> str:
    """Return the outcome in one line."""
    drifts, notes = found.drifts, len(found.changes) - found.drifts
    told = f"drift: {_count(drifts, 'change')}" if drifts else "no drift"
    if notes:
        told += f", {_count(notes, 'note')}"
    if found.ignored:
        told += f", {found.ignored} ignored"
    return f"not comparable; as far as it goes, {told}" if found.problems else told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _table(found: Comparison) -> Iterator[str]:
    shown = found.changes[:_MAX_ROWS]
    rows = [
        (one.counts, *_titled(one), safe(one.what, 300), _details(one)) for one in shown
    ]
    widths = [
        min(_WIDEST, max((len(row[place]) for row in rows), default=0))
        for place in range(4)
    ]
    for row in rows:
        cells = [one.ljust(width) for one, width in zip(row, widths, strict=False)]
        yield f"{'  '.join(cells)}  {row[4]}".rstrip()
    if (more := len(found.changes) - len(shown)) > 0:
        yield f"{more} more: --format json has all"
    yield from (f"note: {safe(one)}" for one in found.notes[:_MAX_ROWS])
    yield headline(found)


def _titled(one: Change) -> tuple[str, str]:
    kind = one.kind.replace("_", " ")
    return one.word, "" if kind == one.word else kind


def _title(one: Change) -> str:
    return " ".join(_titled(one)).rstrip()


def _details(one: Change) -> str:
    parts = [_values(one)]
    parts += [f"by {_shown(who)}" for who in one.who[:1]]
    if len(one.who) > 1:
        parts.append(f"and {len(one.who) - 1} more")
    parts += [f"since {_run(one.since)}" if one.since else "", safe(one.remark, 600)]
    return "; ".join(part for part in parts if part)


def _values(one: Change) -> str:
    if not one.old and not one.new:
        return ""
    if one.word in {"new", "gone"}:
        return _listed(one.new or one.old)
    if not one.old or not one.new:
        return f"also {_listed(one.new)}" if one.new else f"no more {_listed(one.old)}"
    return f"{_listed(one.old)} -> {_listed(one.new)}"


def _listed(texts: Texts) -> str:
    more = len(texts) - _MAX_VALUES
    told = ", ".join(safe(one, 200) for one in texts[:_MAX_VALUES])
    return told + (f" and {more} more" if more > 0 else "")


def _shown(who: Who) -> str:
    parts = [who.program, who.package]
    if who.module and who.module != who.program:
        parts.append(f"({who.module})")
    if who.test:
        parts.append(f"in {who.test}")
    return safe(" ".join(part for part in parts if part), 600)


def _run(run: Run) -> str:
    return safe(f"run {run.name} ({run.began})", 200)


def _markdown(found: Comparison) -> Iterator[str]:
    yield f"### egressmon: {headline(found)}"
    yield ""
    yield from (f"- not comparable: {cell(one)}" for one in found.problems[:_MAX_CELLS])
    if found.problems:
        yield ""
    if found.changes:
        yield "| counts | what | | before | now | who | since |"
        yield "|---|---|---|---|---|---|---|"
    for one in found.changes[:_MAX_CELLS]:
        about = cell(one.what) + (f" ({cell(one.remark)})" if one.remark else "")
        who = "; ".join(cell(_shown(who)) for who in one.who)
        since = cell(_run(one.since)) if one.since else ""
        cells = (
            one.counts, _title(one), about,
            cell(_listed(one.old)), cell(_listed(one.new)), who, since,
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    if found.changes:
        yield ""
    if (more := len(found.changes) - _MAX_CELLS) > 0:
        yield f"- {more} more: `--format json` has all"
    yield from (f"- note: {cell(one)}" for one in found.notes[:_MAX_CELLS])


def _annotations(found: Comparison) -> Iterator[Annotation]:
    for why in found.problems:
        yield Annotation("error", "Egress drift, not comparable", why)
    for one in found.changes:
        level = "error" if one.word == "violation" else _LEVELS[one.counts]
        title = "Egress violation" if one.word == "violation" else "Egress drift"
        text = f"{_title(one)}: {one.what}"
        details = _details(one)
        yield Annotation(level, title, f"{text}: {details}" if details else text)


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "status": found.status,
        "comparable": not found.problems,
        "problems": [*map(safe, found.problems)],
        "drift": found.drifts,
        "ignored": found.ignored,
        "runs": [_run_as_json(one) for one in found.runs],
        "changes": [_change_as_json(one) for one in found.changes],
        "notes": [*map(safe, found.notes)],
    }


def _run_as_json(run: Run) -> dict[str, str]:
    return {"run": safe(run.name), "began": safe(run.began)}


def _change_as_json(one: Change) -> dict[str, Any]:
    return {
        "counts": one.counts,
        "word": one.word,
        "kind": one.kind,
        "what": safe(one.what),
        "old": [*map(safe, one.old)],
        "new": [*map(safe, one.new)],
        "who": [
            {name: safe(value) or None for name, value in who._asdict().items()}
            for who in one.who
        ],
        "since": _run_as_json(one.since) if one.since else None,
        "remark": safe(one.remark) or None,
    }
