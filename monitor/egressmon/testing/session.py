"""One run of pytest with `--egress-guard`: which test asked for what was refused."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest

from egressmon.guard.deciding import all_rules
from egressmon.guard.decisions import Decision, entry_for
from egressmon.guard.guard import begin as install
from egressmon.guard.judging import nearest
from egressmon.guard.masking import told
from egressmon.guard.pins import pins_of, require_allowed
from egressmon.guard.state import STATE
from egressmon.testing import around, loopback
from egressmon.text import printable

NAME = "egressmon-guard"
_OUTSIDE = around.OUTSIDE
_KEY = "egress_guard"
_ATTRIBUTE = "egressmon_egress"
_MAX_NOTES = 20


def begin(config: pytest.Config) -> None:
    """Install the guard and register the session; raises pytest's UsageError."""
    source = nearest(Path(config.rootpath))
    if source.problem is not None:
        raise pytest.UsageError(
            f"--egress-guard: {source.problem}: write egress.toml (docs/policy.md)"
        )
    install(source)
    problems = [rules.problem for rules in all_rules() if rules.problem]
    if problems:
        raise pytest.UsageError(f"--egress-guard: {problems[0]}")
    session = Session(config, source.path)
    config.pluginmanager.register(session, NAME)
    config.add_cleanup(session.end)


class Session:
    """pytest's hooks."""

    def __init__(self, config: pytest.Config, policy: str) -> None:
        self._config = config
        self._policy = policy
        self._test = _OUTSIDE
        self.violations: list[Decision] = []
        """What was refused to the running test; what it takes out does not fail it."""
        self._outside: list[str] = []
        self._told: dict[str, list[str]] = {}
        self._unguarded: dict[str, int] = {}
        self._places = (config.invocation_params.dir, Path(config.rootpath))
        STATE.observers.append(self._decided)
        STATE.is_local = loopback.is_open

    def end(self) -> None:
        """Open loopback to nobody, and listen no more. The guard stays."""
        STATE.narrowed = ()
        STATE.is_local = never
        STATE.observers.remove(self._decided)

    def _decided(self, decision: Decision) -> None:
        if decision.verdict in {"unguarded child", "unguarded call"}:
            what = f"{decision.verdict}: {printable(decision.host)}"
            self._unguarded[what] = self._unguarded.get(what, 0) + 1
        elif decision.verdict == "violation" and self._test == _OUTSIDE:
            _add(self._outside, _said(decision))
        elif decision.verdict == "violation":
            self.violations.append(decision)

    def pytest_report_header(self) -> str:
        """Say what holds in this run."""
        return f"egressmon: guarded by {printable(self._policy)}"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Know which test runs."""
        self._test = item.nodeid
        self.violations.clear()
        try:
            return (yield)
        finally:
            self._test = _OUTSIDE
            STATE.narrowed = ()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Narrow what the test reaches to what its mark names, its fixtures, too."""
        for mark in item.iter_markers("egress"):
            pins = pins_of(mark.args)
            require_allowed(pins)
            STATE.narrowed = (*STATE.narrowed, pins)

    # A client may have swallowed the error: it may even have skipped the test for it.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the test that asked for what is refused."""
        report = yield
        notes: list[str] = []
        for decision in self.violations:
            _add(notes, _said(decision))
        if not notes:
            return report
        entries = dict.fromkeys(map(_entry, self.violations))
        self.violations.clear()
        text = "\n".join([*notes, "to allow it:", *entries])
        setattr(report, _ATTRIBUTE, notes)
        if report.outcome == "failed":
            report.sections.append(("egress", text))
        else:
            report.outcome, report.longrepr = "failed", f"{item.nodeid}: {text}"
            vars(report).pop("wasxfail", None)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what is told at the end; pytest-xdist's controller gets it this way."""
        notes = getattr(report, _ATTRIBUTE, [])
        if notes:
            self._told.setdefault(report.nodeid, []).extend(notes)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run for what was asked for outside of tests."""
        output = cast("Any", getattr(self._config, "workeroutput", None))
        if output is not None:  # pytest-xdist: the controller tells of it
            output[_KEY] = [self._outside, self._unguarded]
        elif self._outside and session.exitstatus in {0, 5}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist noted."""
        outside, unguarded = getattr(node, "workeroutput", {}).get(_KEY, [[], {}])
        for note in outside:
            _add(self._outside, note)
        for what, count in unguarded.items():
            self._unguarded[what] = self._unguarded.get(what, 0) + count

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Say what was refused, by test, and what went around the guard."""
        refused = self._told | ({_OUTSIDE: self._outside} if self._outside else {})
        unguarded = dict(self._unguarded)  # before `around` starts a process
        seen = around.told(self._places)
        if not refused and not unguarded and not seen:
            return
        terminalreporter.section("egress")
        for test, notes in refused.items():
            for note in notes:
                line = f"{printable(test, 1000)}: {note}"
                terminalreporter.write_line(line, red=True)
        for what, count in unguarded.items():
            terminalreporter.write_line(f"{what} ({count} times): not guarded")
        for line in seen:
            terminalreporter.write_line(line)


def never() -> bool:
    """Return False: loopback is open to nobody."""
    return False


def _said(decision: Decision) -> str:
    return (
        f"refused {told(decision.where)} ({decision.kind}): "
        f"{told(decision.reason, 500)}; by "
        f"{printable(decision.caller or 'unknown code', 500)}"
    )


def _entry(decision: Decision) -> str:
    return "\n".join(f"    {told(one)}" for one in entry_for(decision).split("\n"))


def _add(notes: list[str], note: str) -> None:
    if note not in notes and len(notes) < _MAX_NOTES:
        notes.append(note)
