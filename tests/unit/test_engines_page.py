"""docs/containers.md has the form that scripts/test-engines gives it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from support.engines import making
from support.engines.page import Page, Row, read, rows, text

PAGE = Path(__file__).parents[2] / "docs/containers.md"
ROW = Row(
    *("podman", "`podman run`", 10, 9, 8, 7),
    told_as="podman",
    name="yes",
    cgroup="/libpod-ID",
    origin="container",
    notes="`late`, 2 of them",
    version="5.4",
)


def test_the_page_is_what_would_be_written_of_what_it_says() -> None:
    written = PAGE.read_text()
    page = read(written)

    assert text(page) == written
    assert {one.engine for one in page.rows} == set(making.ENGINES)
    assert "dirty" not in page.commit


def test_a_page_is_read_back() -> None:
    page = Page("6.18.1", "2026-01-02", "abc", (ROW, Row("crun", "`crun run`", 1, 1)))

    assert read(text(page)) == page


@pytest.mark.parametrize(
    ("old", "new"),
    [("| engine |", "| other |"), ("10 of", "ten of"), ("Linux 6", "Windows 6")],
)
def test_another_form_is_refused(old: str, new: str) -> None:
    page = text(Page("6.18.1", "2026-01-02", "abc", (ROW,)))
    changed = page.replace("9 of 10", "10 of 10").replace(old, new)

    with pytest.raises(ValueError, match=r"columns|count|where"):
        read(changed)


def test_the_last_report_of_a_row_counts_and_rows_are_in_the_engines_order() -> None:
    first = asdict(ROW) | {"seen": 1}
    other = asdict(Row("runc", "`runc run`", 1, 1)) | {"unheard_of": 1}
    lines = map(json.dumps, [first, asdict(ROW), other])

    made = rows(lines, {"podman": "6", "runc": "1"})

    assert [(one.engine, one.seen, one.version) for one in made] == [
        ("runc", 1, "1"),
        ("podman", 9, "6"),
    ]
