"""How a sidecar's run ended, in each form: hostile texts stay texts."""

import io
from pathlib import Path

import pytest

from egressmon.reports.runs import stopped as reports
from egressmon.reports.writing.page import Page
from egressmon.sidecar.stopped import Stopped, Violation, stopped_of
from egressmon.values import replace
from support.control import END

STOPPED = stopped_of(END)
HOSTILE = "a\n::error::x\r%0A,b:\x1b[31m##[y]##vso[z]section_start:1:q`|<b>\u202e"


def hostile() -> Stopped:
    return replace(
        STOPPED,
        is_concluded=False,
        evidence=HOSTILE,
        head=HOSTILE,
        connections={HOSTILE: 3},
        incomplete_reasons=[HOSTILE],
        violations=[Violation(HOSTILE, HOSTILE, HOSTILE)] * 20,
    )


def test_plain() -> None:
    stream = io.StringIO()

    reports.print_plain(STOPPED, stream)

    assert stream.getvalue() == (
        "egressmon: violations (5 connections: 3 allowed, 2 violation; "
        "1 DNS look-up: 1 allowed)\n"
        "  violation 192.0.2.1:443/tcp by curl: no rule\n"
        "  1 more violation in the evidence\n"
        "  run: 0190-run\n"
        "  evidence: /var/lib/evidence (12 records, head blake3:00)\n"
        "  egressmon anchor run=0190-run seq=11 head=blake3:00\n"
    )


def test_gitlab_folds_it() -> None:
    stream = io.StringIO()

    reports.print_gitlab(STOPPED, stream)

    first, *inside, last = stream.getvalue().splitlines(keepends=True)[:-1]
    text = stream.getvalue()
    assert text.startswith("\x1b[0Ksection_start:")
    assert text.count("section_end:") == 1
    assert text.endswith("egressmon\r\x1b[0K\n")
    assert "192.0.2.1:443/tcp by curl" in text
    assert first
    assert inside
    assert last


def test_github_annotates_and_writes_the_page(tmp_path: Path) -> None:
    stream, path = io.StringIO(), tmp_path / "page.md"
    page = Page(bytes(path))

    reports.print_github(STOPPED, stream, page)
    page.close()

    assert (
        "\n::error title=Egress violation::192.0.2.1:443/tcp by curl: no rule\n"
        in stream.getvalue()
    )
    assert path.read_text() == reports.markdown(STOPPED)
    assert "| `192.0.2.1:443/tcp` | `curl` | `no rule` |" in path.read_text()


def test_what_is_only_reported_is_a_warning() -> None:
    stream = io.StringIO()

    reports.print_github(replace(STOPPED, exit_status=0), stream, None)

    assert "::warning title=Egress violation::" in stream.getvalue()


def test_what_was_not_concluded_is_an_error() -> None:
    stream = io.StringIO()

    reports.print_github(replace(STOPPED, is_concluded=False), stream, None)

    assert "::error title=Egress evidence incomplete::the run was not" in (
        stream.getvalue()
    )


@pytest.mark.parametrize("form", ["plain", "gitlab", "github"])
def test_hostile_texts_command_nothing(form: str) -> None:
    stream = io.StringIO()

    if form == "plain":
        reports.print_plain(hostile(), stream)
    elif form == "gitlab":
        reports.print_gitlab(hostile(), stream)
    else:
        reports.print_github(hostile(), stream, None)

    text = stream.getvalue()
    sections = 1 if form == "gitlab" else 0
    assert text.count("section_start:") == sections
    assert text.count("\x1b") == 4 * sections
    assert "##[" not in text
    assert "##vso[" not in text
    assert "\u202e" not in text
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert all(one.startswith(("::error title=E", "::warning t")) for one in commands)
    assert len(commands) == (11 if form == "github" else 0)
    assert "%0A" not in "".join(commands)


def test_hostile_texts_are_no_markup() -> None:
    text = reports.markdown(hostile())

    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 20
    assert all(line.count("`") == 6 and line.count("|") == 4 for line in rows)
    outside = "".join(text.replace("\\`", "").split("`")[::2])
    assert "<b>" not in outside
