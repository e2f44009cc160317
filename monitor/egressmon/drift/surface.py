"""Read what runs reached from their evidence, in bounded memory, record by record."""

from collections.abc import Callable, Sequence
from typing import Any

from egressmon.drift.chain import Chain, Taken
from egressmon.drift.collecting import Collector, TooMuchError
from egressmon.drift.files import Files, runs_at
from egressmon.drift.labels import items, table, text_of
from egressmon.drift.model import FACTS, Run, Surface
from egressmon.errors import UsageError
from egressmon.reading.lines import Line, LineError, lines_of

Json = dict[str, Any]
_ODD = (LineError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
_MAX_PROBLEMS = 100
"""Of one run."""
_MAX_TOLD = 1000
"""Of all."""
_MAX_KNOWN = 16_384
_MAX_KNOWN_BYTES = 8 << 20
_REPEATED = frozenset({"connection", "dns"})
_READ = _REPEATED | {
    "run.start", "run.end", "policy", "actor", "module", "escape",
}  # fmt: skip
_MISSED = ("missed_stack", "missed_frames", "missed_code", "missed_mapping")


def surface_of(paths: Sequence[str]) -> Surface:
    """Return what the runs reached whose evidence is at `paths`.

    What is not all, or not as it was recorded, is told of in its `problems`. Raises
    UsageError for what cannot be read at all.
    """
    surface = Surface(facts={name: {} for name in FACTS})
    collector = Collector(surface)
    for number, files in enumerate(runs_at(paths)):
        surface.runs.append(Run(text_of(files.run), text_of(files.began)))
        collector.begin(number)
        _Reader(surface, collector, files).read()
    return surface


class _Reader:
    """Reads one run."""

    def __init__(self, surface: Surface, collector: Collector, files: Files) -> None:
        self._surface = surface
        self._collector = collector
        self._files = files
        self._chain = Chain()
        self._started = False
        self._end: Json | None = None
        self._known: set[bytes] = set()
        """What was collected: of most records all but number and time repeat."""
        self._known_bytes = 0
        self._wrong = 0

    def read(self) -> None:
        """Read all of its files."""
        for what in self._files.problems:
            self._problem(what)
        for path in self._files.paths:
            self._file(path)
        if self._wrong > _MAX_PROBLEMS:
            more = self._wrong - _MAX_PROBLEMS
            self._problem(f"{more} more lines cannot be read")
        self._conclude()

    def _file(self, path: str) -> None:
        try:
            for line in lines_of(path):
                try:
                    self._line(line)
                except _ODD as error:
                    self._wrong += 1
                    if self._wrong <= _MAX_PROBLEMS:
                        self._problem(_said(path, line, error))
        except UsageError as error:
            self._problem(str(error))
        except TooMuchError as error:
            self._problem(f"{path} tells of {error}: the rest was not read")

    def _line(self, line: Line) -> None:
        taken = self._chain.take(line)
        if self._end is not None:
            raise LineError("comes after the end of the run")
        if taken.kind in _REPEATED and taken.body and self._is_known(taken):
            return
        if taken.kind == "run.start" and self._started:
            raise LineError("begins a run, inside another")
        if taken.kind in _READ:
            record = line.record()
            self._take(taken.kind)(record)

    def _is_known(self, taken: Taken) -> bool:
        if taken.body in self._known:
            return True
        self._known_bytes += len(taken.body)
        if len(self._known) >= _MAX_KNOWN or self._known_bytes > _MAX_KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = len(taken.body)
        self._known.add(taken.body)
        return False

    def _take(self, kind: str) -> Callable[[Json], None]:
        return {
            "connection": self._collector.connection,
            "dns": self._collector.look_up,
            "actor": self._collector.refer,
            "module": self._collector.refer,
            "escape": self._escape,
            "policy": self._policy,
            "run.start": self._start,
            "run.end": self._ended,
        }[kind]

    def _start(self, record: Json) -> None:
        self._started = True
        run = self._surface.runs[-1]
        self._surface.runs[-1] = Run(run.name, text_of(record["time"]))
        self._collector.fact("attribution", text_of(record["attribution"]))
        for one in items(record["blind_spots"]):
            self._collector.fact("blind_spots", text_of(table(one)["name"]))
        if record["policy_digest"] is None:
            kind = record.get("policy_kind") or "default"
            self._collector.fact("policies", text_of(kind))
        else:
            self._policy(record)

    def _policy(self, record: Json) -> None:
        self._collector.fact("policies", text_of(record["policy_digest"]))

    # A path that names a process or is random is another in each run.
    def _escape(self, record: Json) -> None:
        what, path = text_of(record["what"]), record.get("path")
        shown = f"{what} {text_of(path)}" if isinstance(path, str) else what
        self._collector.fact("escapes", shown)

    def _ended(self, record: Json) -> None:
        self._end = record
        sent = record["sent_bytes"]
        if type(sent) is not int or sent < 0:
            raise LineError("counts bytes that are no number")
        self._collector.fact("bytes_sent", order_of(sent))

    def _conclude(self) -> None:
        if not self._started:
            self._problem("it has no beginning")
        if self._end is None:
            self._problem("it has no end: nobody knows what is missing")
            return
        if self._end.get("complete") is not True:
            given = [str(one) for one in items(self._end.get("incomplete_reasons"))]
            why = "; ".join(given[:3]) or "it does not say why"
            self._problem(f"it is incomplete: {why}")
        self._tell_of_missing(table(self._end.get("losses")))

    def _tell_of_missing(self, losses: Json) -> None:
        missed = [f"{name} {losses[name]}" for name in _MISSED if losses.get(name)]
        if self._collector.missing:
            missed.append(f"{self._collector.missing} references to nothing")
        if missed:
            what = f"who made some calls is not known ({', '.join(missed)})"
            self._note(what)
        if losses.get("names_dropped"):
            self._note("it forgot names: some destinations are told by their address")

    def _problem(self, what: str) -> None:
        self._tell(self._surface.problems, what)

    def _note(self, what: str) -> None:
        self._tell(self._surface.notes, what)

    def _tell(self, texts: list[str], what: str) -> None:
        if len(texts) < _MAX_TOLD:
            texts.append(text_of(f"run {self._files.run}: {what}"))


def order_of(count: int) -> str:
    """Return the order of magnitude of `count` bytes, such as 10^3 of 1000 to 9999."""
    return f"10^{len(str(count)) - 1}" if count else "0"


def _said(path: str, line: Line, error: Exception) -> str:
    what = error if isinstance(error, LineError) else "is no record of its kind"
    return f"{path}: line {line.number} {what}"
