"""How the tests of a run went, and what differs between bare and watched runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

Outcomes = Mapping[str, Sequence[str]]
"""Of each test how it ended: a name may stand for more than one."""
_WORDS = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def parse(xml: str) -> Outcomes:
    """Return the outcomes in pytest's JUnit report."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for case in ET.fromstring(xml).iter("testcase"):  # noqa: S314 -- pytest's own
        name = f"{case.get('classname')}::{case.get('name')}"
        words = {_WORDS.get(child.tag) for child in case} - {None}
        found[name].append(min((word for word in words if word), default="passed"))
    return {name: sorted(words) for name, words in found.items()}


def read(path: Path) -> Outcomes:
    """Return the outcomes in the report file `path`."""
    return parse(path.read_text(encoding="utf-8"))


def counts(outcomes: Outcomes) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped."""
    found = Counter(word for words in outcomes.values() for word in words)
    return {word: found[word] for word in ("passed", "failed", "skipped")}


def unsteady(runs: Sequence[Outcomes]) -> list[str]:
    """Return the tests that did not end alike in all of `runs`."""
    return [name for name in _names(runs) if len(_ends(name, runs)) > 1]


def changed(bare: Sequence[Outcomes], watched: Sequence[Outcomes]) -> list[str]:
    """Return the tests that ended in a watched run as they did in no bare one."""
    return [
        name
        for name in _names([*bare, *watched])
        if not _ends(name, watched) <= _ends(name, bare)
    ]


def _names(runs: Iterable[Outcomes]) -> list[str]:
    return sorted({name for run in runs for name in run})


def _ends(name: str, runs: Iterable[Outcomes]) -> set[tuple[str, ...]]:
    return {tuple(run.get(name, ())) for run in runs}
