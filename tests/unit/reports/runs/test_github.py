"""Annotations stand beside the code, and nothing in them or in the page is markup."""

import io
from dataclasses import replace

from hypothesis import given

from egressmon.evidence.records.code import StackRecord, StackReference
from egressmon.reports.runs.github import job_summary, print_annotations
from egressmon.reports.runs.outcome import Outcome
from support.reported import PYTEST, code, connection, look_up
from support.summaries import HOSTILE, ended


def annotations(told: Outcome) -> list[str]:
    """Return the annotations of a run in the folder /src."""
    stream = io.StringIO()
    print_annotations(told, stream, b"/src")
    return stream.getvalue().splitlines()


def test_one_annotation_says_what_by_whom_and_where() -> None:
    by = code(package="urllib3")
    told = ended(connection("192.0.2.1", "api.example.test", made_by=by))

    _, found = annotations(told)

    assert found == (
        "::warning title=Egress violation,file=tests/test_net.py,line=12::"
        f"1x api.example.test:443/tcp by client (urllib3) in {PYTEST}: "
        "no allow entry covers it"
    )


# As a curl that a test runs, or a client in site-packages that it calls.
def test_code_of_others_stands_beside_the_line_that_led_there() -> None:
    names = ["connect", "/usr/lib/site-packages/client.py", "…/cut.py", "/src/a.py"]
    frames: list[tuple[int | None, int | None, int | None]]
    frames = [(0, 1, 5), (None, 2, 6), (None, 3, 7), (None, 3, 8)]
    stack = StackReference("digest", StackRecord("digest", names, frames, 0))
    by = replace(code(), file="/usr/lib/site-packages/client.py", started_by=stack)

    _, found = annotations(ended(connection("192.0.2.1", made_by=by)))

    assert found.startswith("::warning title=Egress violation,file=a.py,line=7::")


# The runner knows a command only at the beginning of a line.
def test_annotations_begin_a_line_whatever_the_command_printed() -> None:
    assert annotations(ended(connection("192.0.2.1")))[0] == ""
    assert annotations(ended()) == []


@given(HOSTILE, HOSTILE, HOSTILE)
def test_a_hostile_text_makes_no_annotation_of_its_own(
    host: str, program: str, test: str
) -> None:
    by = replace(code(test), file=f"/src/{program}.py")
    told = ended(connection("192.0.2.1", host, program=program, made_by=by))

    _, *found = annotations(told)

    (line,) = found
    assert line.startswith("::warning title=Egress violation")
    assert line.isprintable()


@given(HOSTILE, HOSTILE, HOSTILE)
def test_a_hostile_text_is_no_markup_in_the_page(
    host: str, program: str, test: str
) -> None:
    told = ended(
        connection("192.0.2.1", host, program=program, made_by=code(test)),
        look_up(host + "x"),
    )

    lines = job_summary(told).splitlines()

    rows = [line for line in lines if line.startswith("| 1 |")]
    assert len(rows) == 2
    for row in rows:
        assert row.count("|") == 6
        assert row.count("`") % 2 == 0


def test_the_page_has_what_to_add_to_the_policy() -> None:
    told = ended(connection("192.0.2.1", "api.example.test", port=80))

    page = job_summary(told)

    assert page.partition("```toml\n")[2].partition("```")[0] == (
        'version = 1\n[[allow]]\nhost = "api.example.test"\nports = [80]\n'
    )
