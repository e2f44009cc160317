"""What GitHub would drop is in the log: each secret, and each file not searched."""

import io
from dataclasses import dataclass

from egressmon.cassettes.drift import Change, Unreadable
from egressmon.reports.findings.drifts import drift_report
from egressmon.reports.findings.leaks import leak_report
from egressmon.reports.writing.explaining import explanation
from egressmon.sanitise.paths import shown_path
from egressmon.scan.search import Leak, Unsearched

KEY = "ghp_" + "a1B2" * 9


@dataclass
class Numbers:
    """What a search of forty files counted."""

    files: int = 40
    size: int = 1
    leaks: int = 20
    allowed: int = 0


def test_each_file_is_named_however_many_secrets_there_are() -> None:
    log, bare = io.StringIO(), io.StringIO()
    report = leak_report("github", log, bare)

    for number in range(20):
        place = shown_path(f"f{number:02d}")
        report.leak(Leak(place, 1, 1, "github-token", "0" * 32, ()))
        report.unsearched(Unsearched(shown_path(f"z{number:02d}"), None, "ends early"))
    report.end(Numbers())

    annotations, lines = bare.getvalue().splitlines(), log.getvalue()
    assert len(annotations) == 10
    assert annotations[-1].endswith(
        "15 of 20 secrets, and 16 parts that were not searched, are in the log of the "
        "step alone"
    )
    for number in range(20):
        assert f"f{number:02d}" in bare.getvalue() + lines
        assert f"z{number:02d}" in bare.getvalue() + lines


def test_each_cassette_that_was_not_compared_is_named() -> None:
    log, bare = io.StringIO(), io.StringIO()
    report = drift_report("github", "new", log, bare)

    for number in range(12):
        report.unreadable(Unreadable(f"new/{number}-{KEY}.yaml", "malformed"))
        report.change(Change(f"{number}-{KEY}.yaml", "GET /", "status", "", "1", "2"))
    report.end()

    assert bare.getvalue().count("::error ") == 10
    assert bare.getvalue().count("::warning ") == 10
    assert log.getvalue().count("malformed") == log.getvalue().count("GET /") == 3
    assert KEY not in bare.getvalue() + log.getvalue()


def test_an_error_is_one_line_without_tokens() -> None:
    text = explanation(f"no lock can have a\nhint: b-{KEY}", "take it out")

    assert text == "error: no lock can have a\\nhint: b-***\nhint: take it out\n"
