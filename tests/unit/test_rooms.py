"""The picture of the rooms in the docs is the contract that import-linter checks."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
SOURCES = ("probes/egressmon", "monitor/egressmon", "policy/egressmon")


def drawn() -> list[set[str]]:
    found = re.search(r"^```rooms\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    # Two blanks end the names of a line; a description follows.
    return [
        set(re.split(r"  +", line)[0].split(" | ")) for line in found[1].splitlines()
    ]


def test_the_picture_shows_the_contract() -> None:
    layers = LINTER["contracts"][0]["layers"]

    assert drawn() == [set(layer.split(" | ")) for layer in layers]


def test_every_room_that_there_is_has_a_place_in_the_picture() -> None:
    rooms = {
        path.stem
        for path in (ROOT / "monitor/egressmon").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert rooms - {"__main__"} == set().union(*drawn()) - {"policy", "probes"}


def test_every_file_that_the_page_names_is_there() -> None:
    files = [
        str(path.relative_to(ROOT))
        for source in SOURCES
        for path in (ROOT / source).rglob("*")
        if "__pycache__" not in path.parts
    ]

    for name in re.findall(r"`([\w./]+\.(?:py|h|c)|[\w./]+/)`", PAGE):
        end = "/" + name.rstrip("/")
        assert any(f"/{file}".endswith(end) for file in files), name
