"""What the nightly pages say is true of the program and of the files beside them."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOK = (DOCS / "operations/drift.md").read_text()
NIGHTLY = DOCS / "examples/nightly"


def test_every_kind_of_drift_has_somebody_who_acts() -> None:
    section = (DOCS / "drift.md").read_text().partition("\n## Kinds\n")[2]
    rows = re.findall(r"^\| (`[^|]*`) \|", section.partition("\n## ")[0], re.MULTILINE)
    kinds = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    signals = RUNBOOK.partition("\n## Signals\n")[2].partition("\n## ")[0]
    first = re.findall(r"^\| ([^|]*) \|", signals, re.MULTILINE)
    named = {name for row in first for name in re.findall(r"`(\w+)`", row)}

    assert kinds
    assert kinds <= named


def test_every_file_of_the_example_is_in_its_table() -> None:
    page = (NIGHTLY / "README.md").read_text()

    listed = set(re.findall(r"^\| .*", page, re.MULTILINE))
    named = {name for row in listed for name in re.findall(r"\]\(([\w.-]+)\)", row)}

    assert named == {one.name for one in NIGHTLY.iterdir()} - {"README.md"}


def test_what_the_script_says_of_itself_is_in_the_runbook() -> None:
    script = (NIGHTLY / "nightly.sh").read_text()

    for said in (
        "not comparable",
        "the evidence may hold a secret",
        "there is no baseline",
        "the evidence is incomplete",
        "there is no evidence",
        "it was stopped",
        "the note was not updated",
        "the step's summary was not written",
    ):
        assert said in script
        assert said in RUNBOOK
