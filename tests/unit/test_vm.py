"""The scripts that try other kernels: what needs no machine."""

import argparse
from collections import Counter
from pathlib import Path

import pytest

import kernels
import matrix
import vmtest


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
def report(tmp_path: Path) -> matrix.Report:
    (tmp_path / "tests.xml").write_text(XML)
    made = matrix.Report("6.1", "6.1.0-56-amd64", seconds=90, status=1)
    made.read(tmp_path / "tests.xml")
    return made


def test_a_report_counts_by_group_and_names_what_failed(report: matrix.Report) -> None:
    assert report.groups["test_life"] == Counter(passed=1, failed=1, skipped=1)
    assert report.failures == ["test_life::test_b", "test_local::test_d"]
    assert report.blind_spots == "x, y"
    assert not report.fine


def test_a_kernel_without_tests_is_not_fine() -> None:
    # A machine that died leaves no file; so does a selection of nothing.
    assert not matrix.Report("6.1", "6.1.0", status=0).fine
    assert not matrix.Report("6.1", "6.1.0", status=125).fine


def test_the_page_shows_each_kernel_and_each_failure(report: matrix.Report) -> None:
    options = argparse.Namespace(select="smoke", pytest=["-k", "not slow"])

    text = matrix.page([report], options, 12.3)

    assert "1 passed, 1 failed, 1 skipped" in text
    assert "`-m smoke -k 'not slow'`" in text
    assert "* 6.1.0-56-amd64: `test_life::test_b`" in text
    assert "| x, y |" in text
    assert "Nothing failed" not in text


def test_a_page_without_failures_says_so() -> None:
    options = argparse.Namespace(select="kernel", pytest=[])
    report = matrix.Report("running", "6.18.1", groups={"test_life": Counter(passed=3)})

    text = matrix.page([report], options, 1)

    assert "Nothing failed." in text
    assert "6.18.1 (this machine's)" in text
    assert "with `" not in text
