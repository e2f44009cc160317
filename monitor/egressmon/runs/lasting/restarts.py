"""What a run records that goes on with the probes of the one before."""

from typing import Literal

from egressmon.clock import Clock
from egressmon.evidence.predecessor import Predecessor, predecessor_of
from egressmon.evidence.records.lasting import RestartRecord
from egressmon.evidence.unended import Before, LastLine, last_line
from egressmon.probes.loaded import Kept
from egressmon.runs.lasting.gaps import moment


def restart_after(
    before: Before | None,
    kept: Kept,
    kept_by: Literal["systemd", "bpffs"],
    losses: dict[str, int],
    clock: Clock,
) -> RestartRecord:
    """Return the record of a run that took up what `kept` says.

    `before` is the newest run in the folder of the evidence, `losses` what was lost
    since the run before recorded any. The run is incomplete if something is missing
    that somebody did in between, and unless the run before had no violations, and was
    not in doubt: whoever has this run's verdict would not hear of that.
    """
    line, seen = _last_of(before, kept.run)
    until = clock.rfc3339(kept.since_ns)
    since = moment(line.time) if line is not None else None
    lost = {name: count for name, count in losses.items() if count}
    reason = _why_not_whole(kept, lost, seen)
    return RestartRecord(
        before=kept.run,
        before_head=line.head if line is not None else None,
        ended=line.is_end if line is not None else None,
        since=min(since, until) if since is not None else None,
        until=until,
        kept_by=kept_by,
        waiting=kept.waiting,
        again=kept.again,
        losses=lost,
        violations=seen.violations if seen is not None else None,
        doubted=seen.is_doubted if seen is not None else None,
        doubt=reason is not None,
        reason=reason,
    )


def _last_of(
    before: Before | None, run: str
) -> tuple[LastLine | None, Predecessor | None]:
    if before is None:
        return None, None
    try:
        if before.run != run:
            return None, None
        return last_line(before.file), predecessor_of(before.file)
    except OSError:
        return None, None
    finally:
        before.file.close()


def _why_not_whole(
    kept: Kept, lost: dict[str, int], seen: Predecessor | None
) -> str | None:
    found: list[str] = []
    if seen is None:
        found.append("whether the run before had violations is not known")
    elif seen.violations:
        found.append(f"the run before had violations: {seen.violations}")
    if seen is not None and seen.is_doubted:
        found.append("the run before was incomplete already")
    if kept.overwritten:
        found.append(
            "events that the run before had read, and perhaps not recorded, are "
            "overwritten"
        )
    missing = {name: count for name, count in lost.items() if name[:5] == "lost_"}
    if missing:
        counts = ", ".join(f"{count} ({name})" for name, count in missing.items())
        found.append(f"events were lost while nobody read: {counts}")
    return "; ".join(found) or None
