"""A module that is imported late is loaded when it is first used."""

import importlib
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.startup.late import import_late

NAME = "egressmon_test_of_late_imports"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    folder = tmp_path / NAME
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield folder
    for name in [one for one in sys.modules if one.startswith(NAME)]:
        del sys.modules[name]


def test_it_is_loaded_at_its_first_use_and_only_then(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "__init__.py").write_text(
        "import os\nfrom .inner import value\nos.environ['LOADED'] = 'yes'\n"
    )
    (package / "inner.py").write_text("value = object()\n")
    monkeypatch.delenv("LOADED", raising=False)

    import_late(NAME)
    module = importlib.import_module(NAME)
    assert "LOADED" not in os.environ
    found = module.value

    assert os.environ["LOADED"] == "yes"
    assert module.value is found
    assert importlib.import_module(NAME).value is found
    assert importlib.import_module(f"{NAME}.inner").value is found


def test_one_that_is_not_there_is_missed_at_once() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_late(NAME)


@pytest.mark.usefixtures("package")
def test_one_that_cannot_be_loaded_says_so_at_each_use(package: Path) -> None:
    (package / "__init__.py").write_text("raise ImportError('broken')\n")

    import_late(NAME)
    module = importlib.import_module(NAME)

    for _ in range(2):
        with pytest.raises(ImportError, match="broken"):
            _ = module.value
