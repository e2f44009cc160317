"""A comparison as people and their tools read it; what it quotes is escaped."""

import io
import json
import re

import pytest

from egressmon.drift.findings import Change, Comparison
from egressmon.drift.model import Run, Who
from egressmon.drift.rendering import FORMS, Form, headline, write
from egressmon.text import Commandless

WHO = Who("python3", "python:spy 0.1", "_socket.so", "t.py::a (call)")
RUN = Run("night-2", "2026-11-02T02:00:00Z")
NEW = Change(
    "new", "destination", "spy.example:443/tcp", who=(WHO,), since=RUN, remark="why"
)
NOTE = Change(
    "changed", "blind_spot", "x", ("a",), ("b", "c"), counts="note"
)  # fmt: skip
VIOLATION = Change("violation", "violation", "evil.example:443/tcp")
FOUND = Comparison((VIOLATION, NEW, NOTE), (), ("a note",), (RUN,), 2)
EVIL = "\x1b[2J`|\n::error::x\r##[error]y ##vso[task]z section_start:1 \u202e%0A"


def shown(found: Comparison, form: Form) -> str:
    stream = io.StringIO()
    write(found, form, Commandless(stream), stream)  # type: ignore[arg-type]
    return stream.getvalue()


def test_the_table() -> None:
    assert shown(FOUND, "table") == (
        "drift  violation               evil.example:443/tcp\n"
        "drift  new        destination  spy.example:443/tcp   by python3 python:spy "
        "0.1 (_socket.so) in t.py::a (call); since run night-2 "
        "(2026-11-02T02:00:00Z); why\n"
        "note   changed    blind spot   x                     a -> b, c\n"
        "note: a note\n"
        "drift: 2 changes, 1 note, 2 ignored\n"
    )


def test_the_markdown() -> None:
    text = shown(FOUND, "markdown")

    assert text.startswith("### egressmon: drift: 2 changes, 1 note, 2 ignored\n")
    assert "| drift | new destination | `spy.example:443/tcp` (`why`) |" in text


def test_the_annotations_are_followed_by_the_table() -> None:
    text = shown(FOUND, "github")

    assert "::error title=Egress violation::violation: evil.example:443/tcp\n" in text
    assert "::warning title=Egress drift::new destination: spy.example:443" in text
    assert "::notice title=Egress drift::changed blind spot: x: a -> b, c\n" in text
    assert text.endswith(shown(FOUND, "table"))


def test_the_json() -> None:
    found = json.loads(shown(FOUND, "json"))

    assert found["schema"] == "egressmon-drift/1"
    assert (found["status"], found["comparable"], found["drift"]) == (1, True, 2)
    assert found["changes"][1] == {
        "counts": "drift",
        "word": "new",
        "kind": "destination",
        "what": "spy.example:443/tcp",
        "old": [],
        "new": [],
        "who": [
            {
                "program": "python3",
                "package": "python:spy 0.1",
                "module": "_socket.so",
                "test": "t.py::a (call)",
            }
        ],
        "since": {"run": "night-2", "began": "2026-11-02T02:00:00Z"},
        "remark": "why",
    }


def test_what_is_not_comparable_is_told_in_each_form() -> None:
    found = Comparison(problems=("it is incomplete",))

    assert headline(found) == "not comparable; as far as it goes, no drift"
    assert "- not comparable: `it is incomplete`" in shown(found, "markdown")
    assert "not comparable::it is incomplete" in shown(found, "github")
    assert json.loads(shown(found, "json"))["problems"] == ["it is incomplete"]
    assert found.status == 2


@pytest.mark.parametrize("form", FORMS)
def test_hostile_texts_are_escaped_in_each_field(form: Form) -> None:
    evil = Change(
        "new", "destination", EVIL, (EVIL,), (EVIL,), (Who(EVIL, EVIL, EVIL, EVIL),),
        Run(EVIL, EVIL), "drift", EVIL,
    )  # fmt: skip
    found = Comparison((evil,), (EVIL,), (EVIL,), (Run(EVIL, EVIL),))

    text = shown(found, form)

    assert all(one.isprintable() for line in text.split("\n") for one in line)
    assert not re.search(r"##\w*\[|section_start:", text)
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert all(re.match(r"::(error|warning|notice) title=Egress ", x) for x in commands)
    assert len(commands) == (2 if form == "github" else 0)


def test_markdown_stays_in_its_cells() -> None:
    found = Comparison((Change("new", "destination", EVIL, remark=EVIL),))

    (row,) = [x for x in shown(found, "markdown").splitlines() if "new dest" in x]
    assert row.count("|") == 8
    assert row.count("`") == 4


@pytest.mark.parametrize("form", FORMS)
def test_ten_thousand_changes_are_bounded(form: Form) -> None:
    changes = [NEW._replace(what=f"{number}.example") for number in range(10_000)]

    text = shown(Comparison((*changes,)), form)

    if form == "json":
        assert len(json.loads(text)["changes"]) == 10_000
    else:
        assert "9999.example" not in text
        assert re.search(r"(9000|9800) more", text)
        assert text.count("::warning") <= 10
