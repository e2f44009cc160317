"""Who attends to a run that lasts: to what is asked of it, and to what is due."""

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from egressmon.evidence.masking import shown
from egressmon.evidence.records import Record
from egressmon.evidence.records.lasting import ControlRecord
from egressmon.evidence.records.traffic import ConnectionRecord
from egressmon.reports.runs.outcome import Outcome
from egressmon.runs.plan import Standing
from egressmon.sidecar.control import ControlServer
from egressmon.sidecar.notifying import State
from egressmon.sidecar.permissions import Caller
from egressmon.text import printable

if TYPE_CHECKING:
    from egressmon.runs.lasting.asked import AskedSession

_MAX_SHOWN = 50
_TIDY_S = 60.0
"""Longer than any event waits to be read."""
_MAX_TEXT = 300


class Overseer:
    """Does what is asked of the run by its socket, and what is due by the clock."""

    def __init__(self, session: "AskedSession", standing: Standing) -> None:
        self._session = session
        self._standing = standing
        standing.place.leave()
        self._server = ControlServer(
            standing.place.listener,
            standing.token_digest,
            standing.starter,
            session.is_inside,
            self,
        )
        self._epoll = select.epoll()
        self._polled: set[int] = set()
        self._reloading = session.reload_request()
        self._poll_for({self._reloading.fileno(), *self._server.descriptors()})
        now = time.monotonic()
        self.beats = session.beats(standing.heartbeat_s)
        self._next_canaries = now + standing.canaries_s
        self._next_tidying = now + _TIDY_S
        self._next_watchdog = now
        self.run = session.run
        self.follows = session.follows
        """The run whose probes this one took up, if any."""
        self.phase: str | None = None
        self.shown: list[dict[str, Any]] = []
        """The first violations, for who asks how it goes."""
        self.asked_by: str | None = None
        """Who asked for the end; None: nobody has."""
        self.is_concluded = False
        """Whether that was the one who started the run."""
        self.is_open = True
        """As `runs.control.Control` has it: there may always be somebody."""

    def fileno(self) -> int:
        """Return the descriptor to poll, which stands for all of them."""
        return self._epoll.fileno()

    # What the server waits for changes as it attends.
    def _poll_for(self, wanted: set[int]) -> None:
        for descriptor in self._polled - wanted:
            with suppress(OSError):  # it is closed, and so out by itself
                self._epoll.unregister(descriptor)
        for descriptor in wanted:
            with suppress(FileExistsError):
                self._epoll.register(descriptor, select.EPOLLIN)
        self._polled = wanted

    def listen(self) -> None:
        """Do what is asked or due; do not wait for anything."""
        with self._session.isolated("being asked of the run"):
            self._server.attend()
            self._session.served.look()
        if self._reloading.is_set():
            with self._session.isolated("being asked by a signal"):
                pid, uid = map(int, self._reloading.asker().split()[:2])
                self._server.ask_by_signal("reload", pid, uid)
        self._poll_for({self._reloading.fileno(), *self._server.descriptors()})
        if self._session.containers is not None:
            with self._session.isolated("asking container engines"):
                self._session.containers.attend()
        now = time.monotonic()
        with self._session.isolated("testing the probes"):
            if self._session.rounds.is_waiting:
                self._session.rounds.look()
            elif now >= self._next_canaries:
                self._next_canaries = now + self._standing.canaries_s
                self._session.rounds.begin()
        if now >= self._next_tidying:
            self._next_tidying = now + _TIDY_S
            with self._session.isolated("tidying up"):
                self._session.tidy()
        self._feed_watchdog(now)
        if self.beats.is_due():
            with self._session.isolated("recording a gap"):
                self._session.record_gaps(self.beats.begin())
            with self._session.isolated("recording a heartbeat"):
                self._session.record_heartbeat()

    def _feed_watchdog(self, now: float) -> None:
        notifier = self._standing.notifier
        if notifier is None or notifier.watchdog_s is None:
            return
        if now >= self._next_watchdog:
            self._next_watchdog = now + notifier.watchdog_s
            self._session.notify(State.WATCHDOG)

    def on_record(self, record: Record) -> None:
        """Keep `record` if it is one of the first violations."""
        if not isinstance(record, ConnectionRecord) or record.verdict != "violation":
            return
        if record.relayed is not None:
            return  # it was told where it was begun
        if len(self.shown) < _MAX_SHOWN:
            name = record.dst.names[0].name if record.dst.names else record.dst.ip
            actor = record.process
            port = f":{record.dst.port}" if record.dst.port is not None else ""
            self.shown.append(
                {
                    "destination": _cut(f"{name}{port}/{record.protocol}"),
                    "process": _cut(actor.exe or actor.comm) if actor else "unknown",
                    "reason": _cut(record.reason),
                }
            )

    def status(self) -> dict[str, Any]:
        """Return how it goes, for anybody to see."""
        return {**self._session.counts(), "phase": self.phase, "state": "watching"}

    def mark(self, name: str, caller: Caller) -> dict[str, Any]:
        """Begin the phase `name`, which ends the one before; return where that is."""
        name = shown(name)  # what every record of the phase has, too
        self._session.begin_phase(name, self.phase)
        self.phase = name
        self._note("mark", caller, name, allowed=True)
        counts = self._session.counts()
        return {name: counts[name] for name in ("run", "records", "head")}

    def stop(self, caller: Caller, *, is_concluded: bool, reason: str) -> None:
        """Have the run ended."""
        self._note("stop", caller, reason, allowed=True)
        self.asked_by, self.is_concluded = reason, is_concluded or self.is_concluded
        self._session.end()

    def reload(self, caller: Caller, reason: str) -> str:
        """Judge by the policy as it is in its file now; return why not, or ""."""
        if why := _cut(self._session.reload(caller, reason)):
            self._note("reload", caller, why, allowed=False)
        return why

    def policies(self) -> list[str]:
        """Return the digest of each policy that the run was judged by, in order."""
        return self._session.reloading.digests()

    def attempt(self, verb: str, caller: Caller, reason: str, count: int) -> None:
        """Record that somebody was refused."""
        self._note(verb, caller, reason, allowed=False, count=count)

    def _note(
        self, verb: str, caller: Caller, reason: str, *, allowed: bool, count: int = 1
    ) -> None:
        self._session.record(
            ControlRecord(
                verb=verb,
                allowed=allowed,
                reason=reason,
                pid=caller.pid or None,
                uid=caller.uid,
                inside=caller.is_inside if caller.is_pinned else None,
                count=count,
            )
        )

    def tell_attempts(self) -> None:
        """Record what was refused and not told yet."""
        self._server.tell_attempts()

    def answer(self, outcome: Outcome) -> None:
        """Tell whoever asked for the end how the run went."""
        with self._session.isolated("answering who asked for the end"):
            self._server.answer_stop(_answer(outcome, self))
        self._server.sever()


def _answer(outcome: Outcome, overseer: Overseer) -> dict[str, Any]:
    end = outcome.end
    return {
        "ok": True,
        "run": overseer.run,
        "concluded": overseer.is_concluded,
        "verdict": end.verdict,
        "exit_status": end.exit_status,
        "evidence": outcome.evidence_path,
        "head": outcome.evidence_head,
        "records": outcome.evidence_records,
        "connections": end.connections,
        "queries": end.queries,
        "origins": end.origins,
        "steps": _steps(outcome),
        "incomplete_reasons": [
            _cut(why) for why in end.incomplete_reasons[:_MAX_SHOWN]
        ],
        "violations": overseer.shown,
        "follows": overseer.follows,
        "policies": overseer.policies(),
    }


# The most frequent ones.
def _steps(outcome: Outcome) -> dict[str, int]:
    steps = outcome.tally.steps.most_common(_MAX_SHOWN)
    return {_cut(name): count for name, count in steps}


def _cut(text: str) -> str:
    return printable(text, _MAX_TEXT)
