"""Count the records again, and compare `run.end` with them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from egressmon.evidence.segmented import LOST
from egressmon.evidence.tally import UNKNOWN_ORIGIN
from egressmon.reports.runs.outcome import NOT_RUN
from egressmon.values import dataclass, field

Json = dict[str, Any]
_VIOLATED: set[int] = {120}
_DOUBTED: set[int] = {121}
_NONE: set[int] = set()
_NOT_THERE = "EAFNOSUPPORT"
_DOUBTS = ("unreadable", "unread", "left_out", "dns_broken", "dns_left_out", LOST)
_PROBE = "probe"
"""The phase in which a plan's probes are made."""
_NUMBERS = (
    "processes", "unattributed_flows", "unknown_modules", "unknown_code", "bypasses"
)  # fmt: skip
_BY_SHELL: set[int] = {126, 127}
_MAX_ALIVE = 1_000_000  # more would be made up, and take memory
_MAX_KINDS = 1000


@dataclass(slots=True)
class Counts:
    """What the records so far add up to."""

    connections: Counter[str] = field(default_factory=Counter[str])
    queries: Counter[str] = field(default_factory=Counter[str])
    fields: Counter[str] = field(default_factory=Counter[str])
    """The counters of `run.end` that are single numbers."""
    canaries: Counter[str] = field(default_factory=Counter[str])
    losses: Counter[str] = field(default_factory=Counter[str])
    doubts: Counter[str] = field(default_factory=Counter[str])
    """By what in the records makes the run incomplete."""
    phases: list[tuple[str, str | None]] = field(
        default_factory=list[tuple[str, str | None]]
    )
    """The (name, outcome) of each that ended."""
    origins: Counter[str] = field(default_factory=Counter[str])
    """Connections by origin."""
    guard: Counter[str] = field(default_factory=Counter[str])
    """Connections by what a guard had to do with them."""
    probes: int = 0
    """Violations that egressmon made itself, as a plan asked for."""
    _launcher: int | None = None
    """What the command was before it was the command: it makes the probes."""
    _alive: set[int] = field(default_factory=set[int])

    def add(self, kind: str, record: Json, times: int = 1) -> None:
        """Count `record`, whose fields have the right types, `times` times."""
        if kind == "connection":
            self._connection(record, times)
        elif kind == "dns":
            count = times * int(record.get("count", 1))
            self.queries[record["verdict"]] += count
            self._probe(record, count)
        elif kind == "process":
            self._process(record)
        elif kind == "canary":
            self._canary(record)
        elif kind == "loss":
            self._loss(record["where"], record["count"])
        elif kind == "unreadable":
            self.losses["unreadable"] += 1
        elif kind == "escape" and record["doubt"]:
            self.doubts["an escape"] += times
        elif kind == "phase":
            self._phase(record)
        elif kind in {"heartbeat", "gap", "restart"}:
            self._life(kind, record)

    def _connection(self, record: Json, times: int) -> None:
        if record.get("relayed") is not None:
            return  # counted as it was begun
        self.connections[record["verdict"]] += times
        self._probe(record, times)
        self.fields["unattributed_flows"] += times * (record["process"] is None)
        self.fields["unknown_modules"] += times * (record["module"] is None)
        self.fields["unknown_code"] += times * (record["code_status"] == "unknown")
        self.fields["bypasses"] += times * (record["bypass"] is True)
        self.origins[record.get("origin") or UNKNOWN_ORIGIN] += times
        if record.get("guard") is not None:
            self.guard[record["guard"]] += times

    def _phase(self, record: Json) -> None:
        if record["event"] == "end" and len(self.phases) < _MAX_KINDS:
            self.phases.append((record["name"], record["outcome"]))

    # Of a run that lasts.
    def _life(self, kind: str, record: Json) -> None:
        if kind in {"gap", "restart"}:
            if record["doubt"]:
                self.doubts["a gap, or a run before that is in doubt"] += 1
        elif record["attached"] != record["probes"]:
            self.doubts["a probe that was detached"] += 1

    def _loss(self, where: str, count: int) -> None:
        if where in self.losses or len(self.losses) < _MAX_KINDS:
            self.losses[where] += count

    def _probe(self, record: Json, times: int) -> None:
        process = record["process"]
        if (
            record["verdict"] == "violation"
            and record["phase"] == _PROBE
            and process is not None
            and process["pid"] == self._launcher
        ):
            self.probes += times

    # As evidence/tally.py counts: the command's first process begins with its exec.
    def _process(self, record: Json) -> None:
        pid = record["pid"]
        if self._launcher is None and record["event"] == "exec":
            self._launcher = pid
        if record["event"] == "exit":
            self._alive.discard(pid)
        elif record["event"] == "fork" or pid not in self._alive:
            if len(self._alive) < _MAX_ALIVE:
                self._alive.add(pid)
            self.fields["processes"] += 1

    def _canary(self, record: Json) -> None:
        self.canaries["sent"] += record["sent"]
        self.canaries["seen"] += record["seen"]
        if record["reason"] is not None and record["errno"] != _NOT_THERE:
            self.doubts["a failed canary"] += 1

    def differences(self, end: Json) -> Iterator[str]:
        """Yield where `run.end` has another count than the records."""
        if (lost := end["losses"].get(LOST, 0)) > 0:
            yield from self._excesses(end, lost)
        else:
            yield from self._other_counts(end)
        if lost > self.losses[LOST]:
            yield f"`losses` has more of {LOST} than the records: {self.losses[LOST]}"
        for name, count in self.losses.items():
            if end["losses"].get(name, 0) < count:
                yield f"`losses` has less of {name} than the records: {count}"

    def _other_counts(self, end: Json) -> Iterator[str]:
        counts = {"connections": self.connections, "queries": self.queries}
        if not end["losses"].get("left_out"):  # canaries are counted as they are made
            counts["canaries"] = self.canaries
        if "origins" in end:  # it came later
            counts["origins"] = self.origins
        if "guard" in end:
            counts["guard"] = self.guard
        for name, counted in counts.items():
            if _positive(end[name]) != _positive(counted):
                yield f"`{name}` is {end[name]}, and the records have {dict(counted)}"
        for name in _NUMBERS:
            if end[name] != self.fields[name]:
                what = f"the records have {self.fields[name]}"
                yield f"`{name}` is {end[name]}, and {what}"

    # What was lost together was counted before: there may be more than the records
    # have, by as many as were lost. (One record of look-ups can count any number.)
    def _excesses(self, end: Json, lost: int) -> Iterator[str]:
        more = {name: end[name] - self.fields[name] for name in _NUMBERS}
        for verdict in {*end["connections"], *self.connections}:
            said, counted = end["connections"].get(verdict, 0), self.connections
            more[f"connections.{verdict}"] = said - counted[verdict]
        for name, count in more.items():
            if not 0 <= count <= lost:
                what = f"{count} more than the records have, and {lost} were lost"
                yield f"`{name}` says {what}"
        for verdict, count in self.queries.items():
            if end["queries"].get(verdict, 0) < count:
                yield f"`queries` has less {verdict} than the records: {count}"

    def overclaims(self, end: Json) -> Iterator[str]:
        """Yield where `run.end` says more of the run than follows from its records."""
        yield from self._of_verdict(end)
        if end["complete"]:
            for reason in self._reasons(end):
                yield f"`complete` is true, and there is {reason}"

    def unproven(self, end: Json) -> Iterator[str]:
        """Yield why no summary may say that the run passed."""
        if not end["complete"]:
            yield "it is incomplete"
        found = self.connections["violation"] + self.queries["violation"] - self.probes
        if found:
            yield f"it has {found} violations"
        if end["outlived"]:
            yield f"{len(end['outlived'])} processes outlived it"
        for name, outcome in self.phases:
            if outcome != "completed":
                yield f"its phase {name} did not complete"

    def _of_verdict(self, end: Json) -> Iterator[str]:
        has_violations = bool(
            self.connections["violation"] or self.queries["violation"]
        )
        losses = end["losses"]
        missing = bool(losses.get("left_out", 0) or losses.get(LOST, 0))
        complete = end["complete"]
        wanted = "clean" if complete else "incomplete"
        if has_violations or (missing and end["verdict"] == "violations"):
            wanted = "violations"
        if end["verdict"] != wanted:
            yield f"`verdict` is {end['verdict']}, and by the records it is {wanted}"
        if complete is bool(end["incomplete_reasons"]):
            yield "`complete` and `incomplete_reasons` contradict each other"

    def _reasons(self, end: Json) -> Iterator[str]:
        yield from self.doubts
        for name, count in end["losses"].items():
            if count and (name.startswith("lost_") or name in _DOUBTS):
                yield f"{name} {count}"
        if end["evidence"] in {"replaced", "changed"}:
            yield f"evidence that was {end['evidence']}"
        if self.canaries["seen"] == 0:
            yield "no canary that was seen"
        choice: Json | None = end.get("choice")
        if choice is not None and choice["unmatched"]:
            yield "a container that is wanted and was not there"


def _positive(counts: Json) -> Json:
    return {name: count for name, count in counts.items() if count}


def why_no_status(end: Json, enforce: str) -> str | None:
    """Return why no run with the record `end` has its `exit_status`; None: it may.

    `enforce` is what `run.start` says. Whether status 121 was wanted is not recorded.
    """
    own = _own_statuses(end)
    if end["verdict"] == "violations" and enforce == "fail":
        allowed = _VIOLATED
    else:
        other = [one for one in end["incomplete_reasons"] if one != NOT_RUN]
        allowed = own | (_DOUBTED if other else _NONE)
    if end["exit_status"] in allowed:
        return None
    listed = " or ".join(map(str, sorted(allowed)))
    return f"`exit_status` is {end['exit_status']}, and by the rest it is {listed}"


# The statuses that can be the command's own.
def _own_statuses(end: Json) -> set[int]:
    if NOT_RUN in end["incomplete_reasons"]:
        return _BY_SHELL
    if end["command_signal"] is not None:
        return {128 + end["command_signal"]}
    return {end["command_status"] or 0}
