"""The summary tells the truth at a glance, on any terminal and in a log."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from egressmon.evidence.records.code import ModuleFile, ModuleRecord, PackageRecord
from egressmon.reports.runs.outcome import Outcome
from egressmon.reports.runs.summary import print_lesson, print_summary
from egressmon.text import printable
from support.outcomes import outcome
from support.reported import code, connection, look_up
from support.summaries import HOSTILE, ended

COMMANDS = re.compile(r"##\w*\[|^\s*::|section_(start|end):", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(told: Outcome, width: int) -> str:
    """Return the summary on a terminal that is `width` columns wide."""
    stream = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        print_summary(told, stream=stream)
    return COLOURS.sub("", stream.getvalue())


def in_log(told: Outcome) -> list[str]:
    """Return the lines of the summary where there is no terminal."""
    stream = io.StringIO()
    print_summary(told, stream=stream)
    return stream.getvalue().splitlines()


def squeezed(text: str) -> str:
    """Return `text` without blanks and newlines, and without the escape of colons."""
    return re.sub(r"\s", "", text).replace("\\x3a", ":")


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(40, 200))
def test_no_line_is_too_long_and_nothing_is_lost(
    host: str, program: str, test: str, width: int
) -> None:
    record = connection("192.0.2.1", host, program=program, made_by=code(test))
    asked = look_up(host + "x", program=program, made_by=code(test))

    text = on_terminal(ended(record, asked), width)

    assert all(cell_len(line) <= width for line in text.splitlines())
    whole = squeezed(text)
    shown = f"[{host}]" if ":" in host else host
    for part in (f"1x {shown}:443/tcp", host + "x", program.rpartition("/")[2], test):
        assert squeezed(printable(part, 500)) in whole
    assert not COMMANDS.search(text)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_a_row_is_one_line_in_a_log(host: str, program: str, test: str) -> None:
    record = connection("192.0.2.1", host, program=program, made_by=code(test))

    lines = in_log(ended(record))

    assert lines[0] == (
        "egressmon: violations (1 connection: 1 in violation; 0 DNS look-ups; "
        "0 processes)"
    )
    assert squeezed(lines[1]).endswith(squeezed(": no allow entry covers it"))
    assert squeezed(printable(test, 500)) in squeezed(lines[1])
    assert not COMMANDS.search("\n".join(lines))


def test_a_row_in_a_log_is_neither_padded_nor_cut() -> None:
    test = "tests/test_x.py::test_" + "long_" * 60
    told = ended(
        connection("192.0.2.1", "api.example.test", made_by=code(test)),
        connection("192.0.2.2", port=80, program="curl"),
    )

    assert in_log(told)[1:3] == [
        f"  1x api.example.test:443/tcp by client in {test}: no allow entry covers it",
        "  1x 192.0.2.2:80/tcp by curl: no allow entry covers it",
    ]


def test_columns_from_80_on_and_stacked_below() -> None:
    told = ended(
        connection("192.0.2.1", "api.example.test", made_by=code()),
        connection("192.0.2.2", port=80, program="curl"),
    )

    left = "  1x api.example.test:443/tcp  "

    assert on_terminal(told, 100).splitlines()[2:4] == [
        f"{left}by client in tests/test_net.py::test_fetch (call): no allow entry",
        f"{' ' * len(left)}covers it",
    ]
    assert on_terminal(told, 60).splitlines()[3:7] == [
        "  1x api.example.test:443/tcp",
        "     by client",
        "     in tests/test_net.py::test_fetch (call)",
        "     no allow entry covers it",
    ]


def test_look_ups_stand_with_what_was_then_reached() -> None:
    host = "api.example.test"
    told = ended(
        look_up(host), look_up(host), connection("192.0.2.1", host), look_up("b.test")
    )

    assert in_log(told)[1:3] == [
        f"  1x {host}:443/tcp and 2 look-ups by client: no allow entry covers it",
        "  1x lookup of b.test at 127.0.0.1 by client: no allow entry covers it",
    ]


def test_the_other_names_of_an_address_split_no_row() -> None:
    told = ended(
        connection("192.0.2.1", "a.test", reason="no allow entry covers a.test:443"),
        connection(
            "192.0.2.1",
            "a.test",
            "b.test",
            reason="no allow entry covers a.test, b.test",
        ),
    )

    (found,) = (line for line in in_log(told) if "a.test:443" in line)
    assert found == "  2x a.test:443/tcp by client: no allow entry covers it"


def test_who_is_the_package_or_the_module_that_bypassed() -> None:
    curl = PackageRecord("python", "pycurl", "7.49.0")
    module = ModuleRecord(ModuleFile("/x/libcurl.so.4", None, curl), None, [], None)
    bypassing = replace(
        connection("192.0.2.2", made_by=code()), bypass=True, module=module
    )
    told = ended(
        connection("192.0.2.1", made_by=code(package="urllib3")),
        bypassing,
        replace(bypassing, verdict="allowed"),
    )
    lines = in_log(told)

    assert "by client (urllib3) in tests/" in lines[1]
    assert "by client (bypass: libcurl.so.4 (pycurl 7.49.0)) in tests/" in lines[2]
    assert (
        "  2 bypasses of the language's own sockets: allowed: "
        "1 by libcurl.so.4 (pycurl 7.49.0)"
    ) in lines


def test_the_headline_begins_with_what_is_in_violation() -> None:
    told = ended(
        connection("192.0.2.1", verdict="allowed"),
        connection("192.0.2.1", verdict="allowed"),
        look_up("evil.test"),
    )

    assert in_log(told)[0] == (
        "egressmon: violations (1 DNS look-up: 1 in violation; 2 connections: "
        "2 allowed; 0 processes)"
    )


def test_on_a_terminal_the_headline_begins_a_line() -> None:
    text = on_terminal(ended(), 80)

    assert text.startswith("\negressmon: clean (")


def test_no_color_means_no_style_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()

    print_summary(ended(connection("192.0.2.1")), stream=stream)

    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("tell", ["watch", "learn"])
def test_a_command_that_was_not_found_is_told_once(tell: str) -> None:
    told = replace(
        outcome(incomplete_reasons=["the command was not run"], verdict="incomplete"),
        exec_errno=2,
        command="nosuch",
    )
    stream = io.StringIO()

    if tell == "watch":
        print_summary(told, stream=stream)
    else:
        print_lesson(told, "egress.toml", stream)

    text = stream.getvalue()
    assert text.startswith("egressmon: not run: nosuch was not found\n")
    assert text.count("not run") == 1
    assert "clean" not in text
    assert ("incomplete" in text) is False


def test_no_path_is_shown_with_a_token() -> None:
    key = "ghp_" + "a1B2" * 9
    told = replace(
        outcome(),
        policy=Path(f"d-{key}/egress.toml"),
        evidence_path=f"e-{key}.jsonl",
        command=f"./nope-{key}",
    )

    lines = "\n".join(in_log(told) + in_log(replace(told, exec_errno=2)))

    assert key not in lines
    assert "policy: d-***" in lines
    assert "not run: ./nope-***" in lines
