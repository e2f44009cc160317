"""The scripts that run other kernels: all that needs no virtual machine."""

from collections import Counter
from pathlib import Path

import pytest

import kernels
import vmtest
from report import Report, page


def test_a_version_matches_whole_numbers_only() -> None:
    releases = [
        "6.1.0-9-amd64",
        "6.12.117+deb12-amd64",
        "6.1.0-56-amd64",
        "6.18.1-amd64",
    ]

    assert kernels.matching("6.1", releases) == ["6.1.0-9-amd64", "6.1.0-56-amd64"]
    assert kernels.matching("6.12.117+deb12-amd64", releases) == [releases[1]]
    assert kernels.matching("6", releases)[-1] == "6.18.1-amd64"
    assert kernels.matching("7", releases) == []


def test_a_release_knows_its_series() -> None:
    assert kernels.series("6.1.0-56-amd64") == "6.1"
    assert kernels.series("5.10") == "5.10"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["6.1"], "no command is given"),
        (["6.1", "--"], "no command is given"),
        (["--", "true"], "KERNEL"),
        (["6.1", "--", "no-such-command"], "no-such-command: not found"),
        (["--writable", "/nowhere", "6.1", "--", "true"], "no such folder"),
        (["--cpus", "many", "6.1", "--", "true"], "--cpus"),
    ],
)
def test_bad_usage_is_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        vmtest.main(arguments)

    assert caught.value.code == 2
    assert says in capsys.readouterr().err


XML = """<testsuites><testsuite>
<testcase classname="tests.kernel.test_life" name="test_a"/>
<testcase classname="tests.kernel.test_life" name="test_b"><failure/></testcase>
<testcase classname="tests.kernel.test_life" name="test_c"><skipped/></testcase>
<testcase classname="tests.kernel.test_local" name="test_d"><error/></testcase>
<testcase classname="tests.kernel.test_blind_spots" name="test_e"><properties>
<property name="blind_spots" value="x, y"/><property name="engine" value="libbpf 1"/>
</properties></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> Report:
    (tmp_path / "tests.xml").write_text(XML)
    made = Report("6.1.0-56-amd64", seconds=90, status=1)
    made.read(tmp_path / "tests.xml")
    return made


def test_a_report_counts_by_group_and_names_what_failed(report: Report) -> None:
    assert report.groups["test_life"] == Counter(passed=1, failed=1, skipped=1)
    assert report.failures == ["test_life::test_b", "test_local::test_d"]
    assert report.blind_spots == "x, y"
    assert not report.fine


def test_a_kernel_without_tests_is_not_fine() -> None:
    # No file is left if the machine died, or if no test was selected.
    assert not Report("6.1.0", status=0).fine
    assert not Report("6.1.0", status=125).fine


def test_the_page_shows_each_kernel_and_each_failure(report: Report) -> None:
    report.selection = "-m smoke"
    report.commit = "0123456"

    text = page([report])

    assert "1 passed, 1 failed, 1 skipped" in text
    assert "| x, y |" in text
    assert "| 0123456 | `-m smoke` | not fine (1) |" in text
    assert "* 6.1.0-56-amd64: `test_life::test_b`" in text
    assert "Nothing failed" not in text


def test_a_page_without_failures_says_so() -> None:
    report = Report("6.18.1", native=True, groups={"test_life": Counter(passed=3)})

    text = page([report])

    assert "Nothing failed." in text
    assert "6.18.1 (a machine's own)" in text
    assert "| fine |" in text


def test_reports_are_kept_for_the_page_a_kernel_at_a_time(
    report: Report, tmp_path: Path
) -> None:
    older = Report("5.10.0-46-amd64", groups={"test_life": Counter(passed=1)})
    stale = Report("6.1.0-56-amd64", groups={"test_life": Counter(passed=9)})

    for one in (stale, report, older):
        one.save(tmp_path / "reports")

    assert Report.saved(tmp_path / "reports") == [older, report]
