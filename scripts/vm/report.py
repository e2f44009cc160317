"""Results of the kernel tests under each kernel: read, save and format them."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_OUTCOMES = ("passed", "failed", "skipped")
# A test and its outcome, as `pytest -v` prints them.
_SAID = re.compile(
    r"^\S*?(\w+)\.py::(\S.*?) (PASSED|FAILED|SKIPPED|ERROR)\b.*\[ *\d+%\]$",
    re.MULTILINE,
)
_INTRODUCTION = """\
# Kernels

Written by `scripts/test-kernels --write`: how `tests/kernel` went, a file of tests a
column. Kernels but the machine's own are Debian's, in QEMU without KVM, some 20 times
slower than the machine; `userspace` tests are repeated there only on another processor.
`commit` is what was tested, `tests` which of them (pytest's words); a status of 124 is
that the time was over, and counts what was done by then.

An arm64 kernel's name is followed by its user land: `bookworm` is Debian 12, and
`trixie` Debian 13, whose return addresses are signed. QEMU emulates that processor,
with signatures and landing pads: nothing here was run on arm64 hardware, whose memory
order is weaker than the emulator's, nor with pages of 64 KiB.
"""


@dataclass
class Report:
    """The results of the tests under one kernel; `groups` are files of tests."""

    release: str
    seconds: float = 0.0
    status: int = 0  # pytest's, or machine.TIMED_OUT or machine.DIED
    native: bool = False
    date: str = ""
    commit: str = ""
    selection: str = ""
    groups: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    failures: list[str] = field(default_factory=list[str])
    blind_spots: str = "unknown"
    engine: str = "unknown"

    @property
    def fine(self) -> bool:
        """Whether there were tests, and all of them passed."""
        return self.status == 0 and bool(self.groups) and not self.failures

    @property
    def total(self) -> Counter[str]:
        """How many tests of all groups had each outcome."""
        return sum(self.groups.values(), Counter[str]())

    def read(self, path: Path) -> None:
        """Add the results that pytest wrote to `path`, as JUnit's XML."""
        for case in ET.parse(path).iter("testcase"):  # noqa: S314 -- our own file
            group = case.get("classname", "").rpartition(".")[2]
            outcome = _outcome(case)
            self.groups.setdefault(group, Counter())[outcome] += 1
            if outcome == "failed":
                self.failures.append(f"{group}::{case.get('name')}")
            for one in case.iter("property"):
                if one.get("name") == "blind_spots":
                    self.blind_spots = one.get("value", "")
                if one.get("name") == "engine":
                    self.engine = one.get("value", "")

    def read_output(self, path: Path) -> None:
        """Add the results of a run that did not come to its end, from pytest's words.

        Its status says so: what it had no time for is not counted.
        """
        for match in _SAID.finditer(path.read_text(errors="replace")):
            group, name, said = match.groups()
            outcome = "failed" if said == "ERROR" else said.lower()
            self.groups.setdefault(group, Counter())[outcome] += 1
            if outcome == "failed":
                self.failures.append(f"{group}::{name}")

    def save(self, folder: Path) -> None:
        """Save this in `folder`, in place of the same kernel's last report."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.release}.json").write_text(json.dumps(vars(self)))

    @classmethod
    def saved(cls, folder: Path) -> "list[Report]":
        """Return the reports that are saved in `folder`, the oldest kernel first.

        Those of arm64 come last.
        """
        found = [cls(**json.loads(path.read_text())) for path in folder.glob("*.json")]
        for one in found:
            one.groups = {name: Counter(group) for name, group in one.groups.items()}
        return sorted(
            found, key=lambda one: ("arm64" in one.release, _numbers(one.release))
        )


def _numbers(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release)]


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def counted(counts: Counter[str]) -> str:
    """Return `counts` as text, such as `3 passed, 1 failed`."""
    said = [f"{counts[name]} {name}" for name in _OUTCOMES if counts[name]]
    return ", ".join(said) or "-"


def table(reports: list[Report]) -> str:
    """Return `reports` as a Markdown table, a line for each kernel."""
    groups = sorted({group for one in reports for group in one.groups})
    names = [group.removeprefix("test_") for group in groups]
    head = ["kernel", "engine", *names, "blind spots", "minutes"]
    lines = [head, ["---"] * len(head)]
    for one in reports:
        cells = [counted(one.groups.get(group, Counter())) for group in groups]
        release = one.release + (" (a machine's own)" if one.native else "")
        ends = [one.blind_spots, f"{one.seconds / 60:.0f}"]
        lines.append([release, one.engine, *cells, *ends])
    return _rows(lines)


def _rows(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


# A bar would begin another cell, in code as well.
def _cell(text: str) -> str:
    return _printable(text).replace("|", "\\|")


# Within `backticks` nothing can be escaped.
def _code(text: str) -> str:
    return f"`{_printable(text).replace('`', chr(39))}`"


# A test's name may hold what a parameter did; pytest's options are the caller's.
def _printable(text: str) -> str:
    return "".join(
        one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text
    )


def page(reports: list[Report]) -> str:
    """Return the text of docs/kernels.md."""
    runs = [["kernel", "date", "commit", "tests", "status"], ["---"] * 5]
    for one in reports:
        status = "fine" if one.fine else f"not fine ({one.status})"
        runs.append([one.release, one.date, one.commit, _code(one.selection), status])
    failed = [
        f"* {one.release}: {_code(name)}" for one in reports for name in one.failures
    ]
    end = "\n".join(["Failed:", "", *failed]) if failed else "Nothing failed."
    return "\n".join([_INTRODUCTION, table(reports), _rows(runs), end, ""])
