"""One run of pytest with `--egress-cassettes`: what it may do, and what it did."""

import os
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest

from egressmon.cassettes.guard import Guard
from egressmon.cassettes.recordings import Miss, take_over
from egressmon.cassettes.settings import Settings, is_ci, read_settings
from egressmon.errors import UsageError
from egressmon.text import printable

_OUTSIDE = "outside of tests"
_REFRESH = "egressmon cassettes refresh --i-understand-this-spends-tokens -- pytest"
_HEADER = "egressmon: cassettes only: a test that asks for the network fails"
_WATCHED = (
    "egressmon: this run is watched: what counts is the exit status of `egressmon "
    "watch`, under a policy that allows nothing"
)
_KEY = "egress_cassettes"


def begin(config: pytest.Config) -> None:
    """Register the session with pytest; raises its UsageError."""
    try:
        settings = read_settings(Path(config.rootpath))
    except UsageError as error:
        raise pytest.UsageError(f"{error} ({error.hint})") from error
    live = why_live(config, settings)
    if live and is_ci(os.environ):
        raise pytest.UsageError(
            f"CI is set and {live}: no CI system lets tests talk to real services; "
            f"unset it there, and record elsewhere: {_REFRESH}"
        )
    session = Session(config, settings, live)
    config.pluginmanager.register(session, "egressmon-cassettes")
    config.add_cleanup(session.end)


def why_live(config: pytest.Config, settings: Settings) -> str:
    """Return why tests may talk to real services; "": they may not."""
    if found := settings.live(os.environ):
        return f"{', '.join(found)} is set"
    mode = cast("str | None", config.getoption("--record-mode", default=None))
    return f"--record-mode is {mode}" if mode not in {None, "none"} else ""


class Session:
    """pytest's hooks."""

    def __init__(self, config: pytest.Config, settings: Settings, live: str) -> None:
        self._config = config
        self._live = live
        self._test = _OUTSIDE
        self._notes: dict[str, list[str]] = {}
        self._guard = Guard(self._reached, loopback=settings.allow_loopback)
        self._undo = take_over(self._missed)
        if not live:
            self._guard.start()

    def end(self) -> None:
        """Guard nothing more, and leave VCR as it was."""
        self._guard.stop()
        self._undo()

    def _reached(self, where: str) -> None:
        self._note(f"asked for the network: {where}")

    def _missed(self, miss: Miss) -> None:
        if not self._live:
            self._note(f"asked for what its cassette does not have: {miss}")

    def _note(self, text: str) -> None:
        notes = self._notes.setdefault(self._test, [])
        if text not in notes:
            notes.append(text)

    def pytest_report_header(self) -> list[str]:
        """Say what holds in this run."""
        if self._live:
            return [f"egressmon: live ({self._live}): the network is not refused"]
        return [_HEADER, *([_WATCHED] if _is_watched() else [])]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Know which test runs."""
        self._test = item.nodeid
        try:
            return (yield)
        finally:
            self._test = _OUTSIDE

    # A test may have caught the error: it may even have skipped itself for it.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the test that asked for the network, or missed its cassette."""
        report = yield
        notes = self._notes.pop(item.nodeid, [])
        if not notes:
            return report
        text = "\n".join([*_said(item.nodeid, notes), *_advice(item.nodeid)])
        if report.outcome == "failed":
            report.sections.append(("egressmon", text))
        else:
            report.outcome, report.longrepr = "failed", text
            vars(report).pop("wasxfail", None)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run for what was asked for outside of tests."""
        output = cast("Any", getattr(self._config, "workeroutput", None))
        if output is not None:  # pytest-xdist: the controller tells of it
            output[_KEY] = self._notes
        elif self._notes and session.exitstatus in {0, 5}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist noted."""
        found = getattr(node, "workeroutput", {}).get(_KEY, {})
        for test, notes in found.items():
            self._notes.setdefault(test, []).extend(notes)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Say what was asked for outside of tests: by plugins, while collecting."""
        for test, notes in self._notes.items():
            for line in _said(test, notes):
                terminalreporter.write_line(line, red=True)


def _said(test: str, notes: list[str]) -> list[str]:
    return [f"egressmon: {printable(test, 1000)} {note}" for note in notes]


def _advice(test: str) -> list[str]:
    return [
        "mark a test that needs an answer with @pytest.mark.vcr, and record it:",
        f"    {_REFRESH} {shlex.quote(printable(test, 1000))}",
    ]


# The scope of `egressmon watch` is a cgroup that is called so. Others may be, too: this
# is for the header alone.
def _is_watched() -> bool:
    try:
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return False
    return "/egressmon-" in own
