"""The docs say what the program does: options, statuses, fields, policy keys."""

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

import pytest
from pydantic import BaseModel

from egressmon.attribution.python.offsets.versions import DEBUG_OFFSETS
from egressmon.cli.main import add_verbs
from egressmon.cli.options import parsing
from egressmon.cli.verbs.table import VERBS
from egressmon.events.decode import kind_of
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import Actor, ProcessExit
from egressmon.evidence.records.running import Outlived
from egressmon.evidence.records.traffic import NameRecord, Peer
from egressmon.policy.language.drift import Drift
from egressmon.policy.language.model import (
    Accept,
    Allow,
    By,
    Command,
    Deny,
    Dns,
    Guard,
    Layers,
    Local,
    Origins,
    Policy,
)
from egressmon.policy.language.native import Native, NativeCode
from egressmon.probes.wire import CONSTANTS
from egressmon.reports.runs.summary import losses_line
from egressmon.runs import conclude
from egressmon.sanitise.catalog.listed import KINDS
from egressmon.sensor.blind_spots import KnownBlindSpot
from egressmon.sensor.sensor import CONSEQUENCES
from support import ways

ROOT = Path(__file__).parents[2]
PARSER = parsing.parser(add_verbs)
DOCS = ROOT / "docs"
USAGE = (DOCS / "usage.md").read_text()
EVIDENCE = (DOCS / "evidence.md").read_text()
POLICY = (DOCS / "policy.md").read_text()


def subparsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001 -- argparse has no public way
        choices = cast("object", action.choices)
        if isinstance(choices, dict):
            named = cast("dict[str, argparse.ArgumentParser]", choices)
            for child in named.values():
                yield child
                yield from subparsers(child)


def visible_options() -> set[str]:
    return {
        option
        for sub in subparsers(PARSER)
        for action in sub._actions  # noqa: SLF001 -- as above
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }


def test_every_option_is_in_the_usage_page_and_none_more() -> None:
    documented = set(re.findall(r"`(--[a-z-]+)", USAGE))

    assert documented == visible_options()


def test_every_command_has_a_section() -> None:
    for sub in subparsers(PARSER):
        if sub.prog != "egressmon policy":
            name = sub.prog.split("[")[0].strip()
            assert f"## `{name}" in USAGE, name


def test_every_kind_of_secret_is_documented_and_none_more() -> None:
    rows = re.findall(
        r"^\| (`[a-z0-9`, -]+`) \| ", (DOCS / "scan.md").read_text(), re.MULTILINE
    )

    documented = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}

    assert documented == {kind.name for kind in KINDS}


def test_every_command_has_its_exit_statuses() -> None:
    _, found, rest = USAGE.partition("\n## Exit statuses\n")
    assert found

    for name in VERBS:
        assert f"`{name}`" in rest.partition("\n## ")[0], name


def test_the_statuses_are_documented() -> None:
    statuses = set(re.findall(r"^\| (\d+)", USAGE, re.MULTILINE))

    assert statuses == {"120", "121", "125", "126", "127", "128"}
    assert (conclude.VIOLATIONS, conclude.INCOMPLETE) == (120, 121)
    for status in statuses:
        assert status in (PARSER.format_help() + _help("watch"))


def _help(verb: str) -> str:
    for sub in subparsers(PARSER):
        if sub.prog.endswith(verb):
            return sub.format_help()
    raise AssertionError(verb)


def evidence_section(kind: str) -> str:
    """Return what the page says of the records of a kind."""
    _, found, rest = EVIDENCE.partition(f"\n## `{kind}`\n")
    assert found, f"docs/evidence.md has no section `{kind}`"
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("record", get_args(Record), ids=lambda one: one.TYPE)
def test_every_field_of_a_record_is_documented_and_none_more(record: type) -> None:
    kind = cast("str", record.TYPE)  # type: ignore[attr-defined]
    section = evidence_section(kind)
    rows = re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", section, re.MULTILINE)
    documented = {
        name.split(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)
    }

    assert documented == {field.name for field in dataclasses.fields(record)}


def test_every_kind_that_may_be_unreadable_is_documented() -> None:
    (row,) = re.findall(r"^\| `event` .*", evidence_section("unreadable"), re.MULTILINE)
    kinds = {
        kind_of(bytes(8) + number.to_bytes(4, "little"))
        for name, number in CONSTANTS.items()
        if name.startswith("KIND_")
    }

    assert set(re.findall(r"`(\w+)`", row)) == kinds | {"event", "kind"}


def test_every_miss_is_documented_and_has_words_in_the_summary() -> None:
    for name in CONSEQUENCES:
        if name.startswith("missed_"):
            assert f"`{name}`" in evidence_section("run.end"), name
            assert name not in losses_line({name: 1}), f"{name}: summary.py"


@pytest.mark.parametrize("nested", [Actor, NameRecord, Peer, Outlived, ProcessExit])
def test_every_nested_field_is_documented(nested: type) -> None:
    for field in dataclasses.fields(nested):
        assert re.search(rf"`(?:dst\.)?{field.name}`", EVIDENCE), field.name


_TABLES = frozenset({
    "by", "dns", "local", "accept", "command", "origins", "guard", "layers", "drift",
    "native",
})  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "model"),
    [
        ("", Policy),
        ("allow.", Allow),
        ("allow.by.", By),
        ("deny.", Deny),
        ("dns.", Dns),
        ("local.", Local),
        ("accept.", Accept),
        ("command.", Command),
        ("origins.", Origins),
        ("guard.", Guard),
        ("layers.", Layers),
        ("drift.", Drift),
        ("native.", Native),
        ("native.allow.", NativeCode),
    ],
)
def test_every_policy_key_is_documented(
    prefix: str,
    model: type[BaseModel],
) -> None:
    keys = set(re.findall(r"^\| `([\w.]+)` \|", POLICY, re.MULTILINE))
    for name, field in model.model_fields.items():
        if name not in _TABLES:
            assert prefix + (field.alias or name) in keys


def test_the_ways_out_are_as_the_run_has_them() -> None:
    assert ways.table() in (DOCS / "guard.md").read_text()


def test_every_blind_spot_is_in_the_threat_model() -> None:
    text = (DOCS / "threat-model.md").read_text()
    for spot in KnownBlindSpot:
        assert f"| `{spot.value.name}` |" in text, spot.value.name


def test_every_loss_has_a_consequence() -> None:
    counted = {
        name.removeprefix("COUNT_").lower()
        for name in CONSTANTS
        if name.startswith(("COUNT_LOST_", "COUNT_MISSED_"))
    }
    # The kernel itself counts the runs that it skipped, and the side band its own.
    assert counted | {"lost_skipped", "missed_mapping"} == set(CONSEQUENCES)


def test_the_pages_know_the_newest_cpython() -> None:
    newest = max(DEBUG_OFFSETS)
    attribution = (DOCS / "attribution.md").read_text()

    assert f"3.9 to 3.{newest}" in attribution
    assert f"CPython 3.{newest + 1} is not known" in attribution
    assert f"3.9 to 3.{newest}" in (DOCS / "changelog.md").read_text()


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# What stands for a name in a recipe is written in capitals, a version's number as N.
_PLACEHOLDER = re.compile(r"NAME|PLACE|TYPE|_N\b|3\.N")


def recipe_words() -> set[str]:
    """Return what the recipes put between backticks, placeholders left out."""
    _, _, rest = (DOCS / "contributing.md").read_text().partition("\n## Recipes\n")
    recipes = re.sub(
        r"```.*?```", "", rest.partition("\n## Words\n")[0], flags=re.DOTALL
    )
    words = re.findall(r"`([^`]+)`", recipes)
    return {word for word in words if not _PLACEHOLDER.search(word)}


def test_the_names_that_recipes_use_are_in_the_sources() -> None:
    known: set[str] = set()
    for folder in ("probes", "monitor", "tests/support", "tests/kernel"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in {".py", ".h", ".c"}:
                known.update(re.findall(r"\w+", path.read_text()))
    of_others = {"TP_PROTO", "offsetof", "Py_GIL_DISABLED"}
    named = {word for word in recipe_words() if re.fullmatch(r"_?[A-Za-z]\w+", word)}
    named = {word for word in named if not word.endswith("_")}  # beginnings

    assert len(named) > 30
    assert named - known <= of_others


def test_each_decision_has_a_number_of_its_own_which_its_title_has_too() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in pages]

    assert numbers == list(range(1, len(pages) + 1))
    for number, page in zip(numbers, pages, strict=True):
        assert page.read_text().startswith(f"# {number}. "), page
