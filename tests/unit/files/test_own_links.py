"""Nothing is written where a link of another user's leads."""

import errno
import os
from pathlib import Path

import pytest

from egressmon.files.writing import open_for_writing

_FLAGS = os.O_CREAT | os.O_TRUNC
NOBODY = 65534


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a file that must not be written to, in a folder of its own."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "victim").write_text("kept\n")
    return tmp_path / "etc" / "victim"


def write(path: Path) -> None:
    descriptor = open_for_writing(str(path), _FLAGS)
    os.write(descriptor, b"evidence\n")
    os.close(descriptor)


def foreign(link: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a link to another user")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)


def test_a_link_of_another_user_is_not_followed(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "evidence").symlink_to(victim)
    foreign(tmp_path / "evidence")
    with pytest.raises(PermissionError, match="is a link that uid 65534 made"):
        write(tmp_path / "evidence")
    assert victim.read_text() == "kept\n"


def test_a_folder_that_was_swapped_for_a_link_is_not_entered(
    victim: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").symlink_to(victim.parent)
    foreign(tmp_path / "out")
    with pytest.raises(PermissionError, match="out is a link"):
        write(tmp_path / "out" / "victim")
    assert victim.read_text() == "kept\n"


def test_a_file_with_other_names_is_not_emptied(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "evidence").hardlink_to(victim)
    with pytest.raises(OSError, match="hard links") as raised:
        write(tmp_path / "evidence")
    assert raised.value.errno == errno.EMLINK
    assert victim.read_text() == "kept\n"


def test_links_of_ones_own_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "relative").symlink_to("real")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")
    (tmp_path / "real" / "evidence").symlink_to("../real/written")
    write(tmp_path / "absolute" / "." / "evidence")
    assert (tmp_path / "real" / "written").read_text() == "evidence\n"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("none/evidence", errno.ENOENT),
        ("file/evidence", errno.ENOTDIR),
        ("folder", errno.EISDIR),
        ("folder/", errno.EISDIR),
        ("loop", errno.ELOOP),
        ("", errno.ENOENT),
    ],
)
def test_errors_are_those_of_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError) as raised:  # noqa: PT011 -- by its number
        open_for_writing(name, _FLAGS)
    assert raised.value.errno == number


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("much more than what is written\n")
    write(tmp_path / "evidence")
    assert (tmp_path / "evidence").read_text() == "evidence\n"
