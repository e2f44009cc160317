"""When nobody watched: before this run, and while it was stopped; and the clock."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from egressmon.clock import Clock
from egressmon.evidence.records.lasting import ClockRecord, GapRecord
from egressmon.evidence.unended import Before, last_line
from egressmon.values import replace

_BILLION = 1_000_000_000
_SILENCE_S = 10.0
"""How much later than it should a heartbeat comes on a machine that has much to do."""
_SET_NS = _BILLION
"""By how much a clock that nobody set is adjusted between two records of that."""


def gap_before(
    before: Before | None, clock: Clock, *, was_left: bool
) -> GapRecord | None:
    """Return the gap between the run `before`, which was killed, and this one.

    `was_left` says that another sidecar's socket was still there. None: there is no
    such gap. It leaves this run incomplete unless the machine was started meanwhile.
    """
    until = clock.rfc3339(clock.now_ns())
    if before is None:
        return _without_run(until) if was_left else None
    try:
        line = last_line(before.file)
    except OSError:
        line = None
    finally:
        before.file.close()
    if line is not None and line.is_end:
        return _without_run(until) if was_left else None
    if line is None or (since := moment(line.time)) is None:
        reason = "the run before did not end, and its last line cannot be read"
        return GapRecord(None, until, reason, doubt=True, before=before.run)
    booted = clock.rfc3339(0)
    is_of_this_boot = since >= booted
    reason = "the run before did not end: it was killed"
    if not is_of_this_boot:
        reason = "the run before did not end, and the machine was started since"
    return GapRecord(
        min(since, until),
        until,
        reason,
        doubt=is_of_this_boot,
        before=before.run,
        before_head=line.head,
    )


def gap_of_refusal(gap: GapRecord | None, why: str, until: str) -> GapRecord:
    """Return the gap before this run, whose probes it did not take up: `why`.

    `gap` is what is known of it by its evidence.
    """
    reason = f"the probes of the run before were not taken up: {why}"
    if gap is None:
        return GapRecord(None, until, reason, doubt=True)
    return replace(gap, reason=f"{gap.reason}; {reason}", doubt=True)


def _without_run(until: str) -> GapRecord:
    reason = "a sidecar was here that did not end, and its evidence is elsewhere"
    return GapRecord(None, until, reason, doubt=True)


def moment(text: str | None) -> str | None:
    """Return the time in `text`, in a form in which texts compare as times do.

    None: it is not in the form that records have.
    """
    if text is None or len(text) != len("2026-11-22T09:30:00.000000001Z"):
        return None
    try:
        second = datetime.fromisoformat(f"{text[:19]}+00:00").astimezone(UTC)
        nanosecond = int(text[20:29]) if text[20:29].isdecimal() else -1
    except (ValueError, OverflowError):
        return None
    found = f"{second.strftime('%Y-%m-%dT%H:%M:%S')}.{nanosecond:09d}Z"
    return text if found == text and nanosecond >= 0 else None


class Beats:
    """When heartbeats are due, and whether one came late."""

    def __init__(
        self,
        every_s: float,
        clock: Clock,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now_s` is a clock that stands still while the machine is suspended."""
        self._every_s = every_s
        self._clock = clock
        self._now_s = now_s
        self._last_s = now_s()
        self._last_ns = clock.now_ns()
        self._told_ns = 0
        """By how much the machine's clock was set, as it was told last."""

    def is_due(self) -> bool:
        """Tell whether the next heartbeat is due."""
        return self._now_s() - self._last_s >= self._every_s

    def begin(self) -> Iterator[GapRecord | ClockRecord]:
        """Begin the next; yield what to record of the time since the last."""
        now_s, now_ns = self._now_s(), self._clock.now_ns()
        limit_s = 2 * self._every_s + _SILENCE_S
        awake_s, past_s = now_s - self._last_s, (now_ns - self._last_ns) / _BILLION
        since, until = (self._clock.rfc3339(one) for one in (self._last_ns, now_ns))
        self._last_s, self._last_ns = now_s, now_ns
        if awake_s > limit_s:
            reason = f"nothing was read for {awake_s:.0f} s: it was stopped, or starved"
            yield GapRecord(since, until, reason, doubt=True)
        elif past_s > limit_s:
            reason = f"the machine was suspended for {past_s - awake_s:.0f} s"
            yield GapRecord(since, until, reason, doubt=False)
        yield from self._clock_set()

    def _clock_set(self) -> Iterator[ClockRecord]:
        ahead_ns = self._clock.ahead_ns()
        if abs(ahead_ns - self._told_ns) < _SET_NS:
            return
        self._told_ns = ahead_ns
        by_ms = abs(ahead_ns) // 1_000_000
        yield ClockRecord("ahead" if ahead_ns > 0 else "behind", by_ms)
