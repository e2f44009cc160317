"""The picture of the rooms in the docs is the contract that import-linter checks."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
SOURCES = ("probes/egressmon", "monitor/egressmon", "policy/egressmon")

BY_NAME = {
    "monitor/egressmon/startup/late.py",  # others' modules alone: start.py
    "monitor/egressmon/keeping/split.py",  # what the rooms below it import later
    "probes/egressmon/probes/loaders/bcc_compile.py",  # the distribution's bcc
}


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


def test_what_is_said_of_the_inside_of_a_room_is_its_contract() -> None:
    for contract in LINTER["contracts"]:
        room = contract.get("containers", ["egressmon"])[0].replace(".", "/")
        if room == "egressmon":
            continue
        room = room.removeprefix("egressmon/")
        said = re.search(rf"Inside `{room}/`: (.*?)\.\s", PAGE, re.DOTALL)
        assert said is not None
        drawn_there = [
            {
                name.strip("/").removesuffix(".py")
                for name in re.findall(r"`(\S+)`", one)
            }
            for one in re.split(r"\s>\s", said[1])
        ]

        layers = contract["layers"]
        assert drawn_there == [set(layer.split(" | ")) for layer in layers]


# import-linter sees no folder without __init__.py below a room, and no name in text.
def test_every_folder_of_a_room_is_a_package() -> None:
    for source in SOURCES:
        for path in (ROOT / source).glob("*/**/*.py"):
            assert (path.parent / "__init__.py").exists(), path


def test_no_module_is_imported_by_a_name_that_is_made_up() -> None:
    found = {
        str(path.relative_to(ROOT))
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
        if re.search(
            r"import_module|__import__|exec_module|resolve_name", path.read_text()
        )
    }

    assert found == BY_NAME


@pytest.mark.parametrize("page", ["architecture.md", "contributing.md"])
def test_every_script_and_module_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()

    for script in re.findall(r"scripts/[\w-]+(?![\w/.-])", text):
        assert (ROOT / script).exists(), script
    for module in re.findall(r"python\s+-m\s+(egressmon[\w.]*)", text):
        path = module.replace(".", "/")
        assert any(
            (ROOT / source).parent.joinpath(path + ".py").exists() for source in SOURCES
        ), module


@pytest.mark.parametrize("page", ["architecture.md", "contributing.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    files = [
        str(path.relative_to(ROOT))
        for source in (*SOURCES, "tests", "scripts")
        for path in (ROOT / source).rglob("*")
        if "__pycache__" not in path.parts
    ]

    text = (ROOT / "docs" / page).read_text()
    for name in re.findall(r"`(\w[\w./]*\.(?:py|h|c|jsonl)|[\w./]+/)`", text):
        end = "/" + name.rstrip("/")
        to_be_made = re.search(r"NAME|_N\.py$|^/", name)
        assert to_be_made or any(f"/{file}".endswith(end) for file in files), name


# Of ours: those of CPython and those that the reader makes up are not.
def test_every_internal_name_that_a_recipe_tells_is_there() -> None:
    text = (ROOT / "docs/contributing.md").read_text()
    recipes = text.partition("## Recipes")[2].partition("\n## ")[0]
    sources = "".join(
        path.read_text()
        for source in (*SOURCES, "tests")
        for path in (ROOT / source).rglob("*")
        if path.suffix in {".py", ".h", ".c"} and path != Path(__file__)
    )

    names = set(re.findall(r"`(_[a-z]\w+|_?[A-Z]{2}[A-Z_]+)\b[^`]*`", recipes))
    for name in sorted(name for name in names if "NAME" not in name):
        assert re.search(rf"(?<!\w){name}", sources), name
