"""What a run records that goes on with the probes of the one before."""

from typing import Literal

from egressmon.clock import Clock
from egressmon.evidence.predecessor import violations_of
from egressmon.evidence.records import RestartRecord
from egressmon.evidence.unended import Before, LastLine, last_line
from egressmon.probes.engine import Kept
from egressmon.runs.gaps import moment


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
    that somebody did in between, and unless the run before had no violations: whoever
    has this run's verdict would not hear of them.
    """
    line, violations = _last_of(before, kept.run)
    until = clock.rfc3339(kept.since_ns)
    since = moment(line.time) if line is not None else None
    lost = {name: count for name, count in losses.items() if count}
    reason = _why_not_whole(kept, lost, violations)
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
        violations=violations,
        doubt=reason is not None,
        reason=reason,
    )


def _last_of(before: Before | None, run: str) -> tuple[LastLine | None, int | None]:
    if before is None:
        return None, None
    try:
        if before.run != run:
            return None, None
        return last_line(before.file), violations_of(before.file)
    except OSError:
        return None, None
    finally:
        before.file.close()


def _why_not_whole(
    kept: Kept, lost: dict[str, int], violations: int | None
) -> str | None:
    found: list[str] = []
    if violations is None:
        found.append("whether the run before had violations is not known")
    elif violations:
        found.append(f"the run before had violations: {violations}")
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
