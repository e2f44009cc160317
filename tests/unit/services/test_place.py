"""The unit's folder: nothing is followed out of it, nothing half written is left."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.services.place import FOLDER, Found, UnitFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "root"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def folder(root: Path) -> Generator[UnitFolder]:
    opened = UnitFolder(str(root))
    yield opened
    opened.close()


def test_missing_folders_are_made_whatever_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        UnitFolder(str(root)).close()
    finally:
        os.umask(before)

    for path in (root / "etc", root / "etc/systemd", root / FOLDER):
        assert path.stat().st_mode & 0o7777 == 0o755


def test_what_is_written_is_found(folder: UnitFolder, root: Path) -> None:
    assert folder.find("a.service") is None

    folder.write("a.service", "one")
    folder.write("a.service", "two")

    assert folder.find("a.service") == Found("two")
    assert os.listdir(root / FOLDER) == ["a.service"]  # noqa: PTH208
    assert (root / FOLDER / "a.service").stat().st_mode & 0o7777 == 0o644


def test_a_link_in_its_place_is_told_and_replaced_but_never_followed(
    folder: UnitFolder, root: Path
) -> None:
    target = root / "precious"
    target.write_text("kept")
    (root / FOLDER / "a.service").symlink_to(target)
    (root / FOLDER / "b.service").symlink_to("/dev/null")

    assert folder.find("a.service") == Found(None, "a symbolic link")
    assert folder.find("b.service") == Found(None, "masked, a link to /dev/null")
    folder.write("a.service", "new")

    assert target.read_text() == "kept"
    assert not (root / FOLDER / "a.service").is_symlink()


@pytest.mark.parametrize("part", ["etc", "etc/systemd", "etc/systemd/system"])
def test_a_link_on_the_way_is_refused(root: Path, tmp_path: Path, part: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / part).parent.mkdir(parents=True, exist_ok=True)
    (root / part).symlink_to(elsewhere)

    with pytest.raises(UsageError, match="symbolic link"):
        UnitFolder(str(root))

    assert os.listdir(elsewhere) == []  # noqa: PTH208


def test_a_root_folder_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)

    with pytest.raises(UsageError, match="symbolic link"):
        UnitFolder(str(link))


def test_a_folder_that_others_write_is_refused(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc").chmod(0o777)

    with pytest.raises(UsageError, match="can be written by others"):
        UnitFolder(str(root))


def test_what_is_no_file_is_told_and_not_waited_for(
    folder: UnitFolder, root: Path
) -> None:
    os.mkfifo(root / FOLDER / "a.service")
    (root / FOLDER / "b.service").mkdir()

    assert folder.find("a.service") == Found(None, "no regular file")
    assert folder.find("b.service") == Found(None, "no regular file")
    with pytest.raises(UsageError, match="cannot be written"):
        folder.write("b.service", "new")

    assert sorted(os.listdir(root / FOLDER)) == ["a.service", "b.service"]  # noqa: PTH208
