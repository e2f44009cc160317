"""Run one suite: bare, watched, and watched with strace and the truth beside it."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matching
import outcomes
import straced
import told
from catalogue import COMMON
from matching import Comparison
from measuring import Cost, measured
from outcomes import Outcomes
from preparing import Prepared
from straced import Connect
from told import Evidence

PLUGIN = Path(__file__).parent / "truth.py"
_PLUGIN_NAME = "egressmon_truth"
_KEPT = ("HOME", "TMPDIR", "USER")
_COULD_NOT_RUN = 125


class RunError(Exception):
    """A run says nothing; the message says why."""


@dataclass(frozen=True)
class Turn:
    """One run of a suite's tests."""

    cost: Cost
    outcomes: Outcomes


@dataclass(frozen=True)
class Check:
    """What the evidence of one run says, beside strace and the truth."""

    evidence: Evidence
    straced: int
    missing: list[Connect]
    comparison: Comparison


class Runner:
    """Runs a suite; `folder` gets logs, reports and evidence."""

    def __init__(self, ready: Prepared, watch: Sequence[str], folder: Path) -> None:
        """`watch` are the words of `egressmon watch`."""
        self._ready = ready
        self._watch = list(watch)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def bare(self) -> Turn:
        """Run the tests as they are."""
        return self._turn([], [])

    def watched(self) -> Turn:
        """Run the tests under `egressmon watch`."""
        turn = self._turn(self._watched_by(), [])
        self._require_whole(self._evidence())
        return turn

    def start_up(self) -> Cost:
        """Run `true` under `egressmon watch`: what a run costs, whatever it does."""
        return self._measured([*self._watched_by(), "true"])

    def check(self) -> Check:
        """Run the tests watched, with strace and the plugin, and compare the three."""
        traces, truths = self._folder / "strace", self._folder / "truth.jsonl"
        shutil.rmtree(traces, ignore_errors=True)
        traces.mkdir()
        truths.unlink(missing_ok=True)
        self._install_plugin()
        strace = ["strace", *straced.OPTIONS, "-o", str(traces / "trace")]
        plugin = ["-p", _PLUGIN_NAME, "--truth", str(truths)]
        self._turn([*self._watched_by(), *strace], plugin)
        evidence, connects = self._evidence(), list(straced.read(traces))
        self._require_whole(evidence)
        return Check(
            evidence,
            len(connects),
            matching.missing(connects, evidence.connections),
            matching.compare(matching.read_truths(truths), evidence.connections),
        )

    def _watched_by(self) -> list[str]:
        return [*self._watch, "--evidence", str(self._folder / "evidence.jsonl"), "--"]

    def _turn(self, before: Sequence[str], options: Sequence[str]) -> Turn:
        suite, report = self._ready.suite, self._folder / "report.xml"
        report.unlink(missing_ok=True)
        pytest = [str(self._ready.python), "-m", "pytest", *COMMON]
        words = [*before, *pytest, f"--junitxml={report}", *options, *suite.options]
        cost = self._measured(words)
        if cost.status >= _COULD_NOT_RUN or not report.exists():
            raise RunError(f"status {cost.status}: see {self._log()}")
        return Turn(cost, outcomes.read(report))

    def _measured(self, words: Sequence[str]) -> Cost:
        return measured(words, self._ready.sources, self._environment(), self._log())

    def _log(self) -> Path:
        return self._folder / "log"

    # Little, and the same for all: a variable of the caller's may change what tests do.
    def _environment(self) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        path = f"{self._ready.python.parent}:{os.environ.get('PATH', os.defpath)}"
        given = self._ready.suite.environment
        return {**kept, "LANG": "C.UTF-8", "PATH": path, **given}

    def _evidence(self) -> Evidence:
        try:
            return told.read(self._folder / "evidence.jsonl")
        except (OSError, ValueError) as error:
            raise RunError(f"{error}: see {self._log()}") from error

    @staticmethod
    def _require_whole(evidence: Evidence) -> None:
        if not evidence.end["complete"]:
            reasons = "; ".join(evidence.end["incomplete_reasons"])
            print(f"suites: the evidence is incomplete: {reasons}", file=sys.stderr)

    # Where the suite's interpreter finds it, whatever the tests do to its environment.
    def _install_plugin(self) -> None:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = self._ready.python.parents[1] / "lib" / version / "site-packages"
        shutil.copy(PLUGIN, packages / f"{_PLUGIN_NAME}.py")
