"""The inventories in the docs: their policies are read, and say the same as they do."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from programs import PROGRAMS
from support.watching import EGRESSMON
from tools_page import destinations

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples/surfaces"
_ROW = re.compile(r"\| `\[?([^`\]]+?)\]?(?::[\d,…]+)?/\w+` \|")


def policy(name: str) -> dict[str, Any]:
    return tomllib.loads((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"))


def rows(name: str) -> list[str]:
    return (EXAMPLES / f"{name}.md").read_text(encoding="utf-8").splitlines()


def reached(name: str) -> set[str]:
    found = (_ROW.match(row) for row in rows(name))
    return {one[1] for one in found if one is not None}


def test_each_tool_has_an_inventory_and_a_policy() -> None:
    made = {path.name for path in EXAMPLES.iterdir()}

    assert made == {f"{name}{kind}" for name in PROGRAMS for kind in (".md", ".toml")}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_policy_is_read_without_a_word(name: str) -> None:
    words = [*EGRESSMON, "policy", "check", str(EXAMPLES / f"{name}.toml")]
    done = subprocess.run(words, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_the_policy_allows_is_in_the_inventory(name: str) -> None:
    allowed = {one.removesuffix("/32") for one in destinations(policy(name))}

    assert allowed <= reached(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_in_the_inventory_is_allowed_or_said_in_a_comment(name: str) -> None:
    text = (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")

    assert {one for one in reached(name) if one not in text} == set()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_inventory_is_whole_and_is_of_no_machine(name: str) -> None:
    text = "\n".join(rows(name))

    assert "**not whole**" not in text
    assert "the evidence is complete" in text
    addresses = re.findall(r"`(\d+(?:\.\d+){3})[`:]", text)
    assert all(one.startswith(("198.51.100.", "127.0.0.1")) for one in addresses)
    assert re.findall(r"(?<!/srv)/(?:work|root|home|tmp)/", text) == []


def test_the_page_says_what_each_policy_allows() -> None:
    page = (DOCS / "surfaces-examples.md").read_text(encoding="utf-8").splitlines()

    for name in PROGRAMS:
        row = next(line for line in page if line.startswith(f"| `{name}` |"))
        said = set(re.findall(r"`([^`]+)`", row.split("|")[3]))
        assert said == set(destinations(policy(name)))
