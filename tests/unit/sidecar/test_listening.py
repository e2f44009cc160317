"""The folder is ours alone, one sidecar uses it, and what is stale goes."""

import os
import socket
import stat
from pathlib import Path

import pytest

from egressmon.sidecar.listening import Place, RuntimeFolderError
from support.control import open_descriptors


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_and_the_socket_is_everybodys(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    old = os.umask(0o077)
    try:
        place = Place(str(folder))
    finally:
        os.umask(old)

    assert place.path == str(folder / "control.sock")
    assert (mode_of(folder), mode_of(folder / "control.sock")) == (0o755, 0o666)
    assert mode_of(folder / "lock") == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place.path)
    place.release()
    assert sorted(one.name for one in folder.iterdir()) == ["lock"]


def test_a_path_that_is_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 150)

    Place(str(folder) + "/").release()

    assert folder.is_dir()


def test_a_second_one_is_told_who_is_there(tmp_path: Path) -> None:
    place = Place(str(tmp_path))

    with pytest.raises(RuntimeFolderError) as caught:
        Place(str(tmp_path))

    assert str(caught.value) == (
        f"another sidecar is running there (pid {os.getpid()})"
    )
    assert caught.value.status == 125
    assert "--runtime" in caught.value.hint
    assert (tmp_path / "control.sock").is_socket()
    place.release()
    Place(str(tmp_path)).release()


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 50, b"9" * 500, b"-1"])
def test_a_lock_that_says_nonsense(tmp_path: Path, content: bytes) -> None:
    place = Place(str(tmp_path))
    (tmp_path / "lock").write_bytes(content)

    with pytest.raises(RuntimeFolderError, match=r"^another sidecar is running there"):
        Place(str(tmp_path))
    place.release()


def test_a_lock_of_one_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        Place(str(tmp_path))
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "control.sock").is_socket()

    place = Place(str(tmp_path))

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place.path)
    place.release()


def test_a_fork_that_lives_on_holds_the_lock_until_it_lets_go(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        place.leave()
        os.write(writing, b"left")
        os.close(writing)
        os.read(reading, 0)
        os._exit(0)
    assert os.read(reading, 4) == b"left"
    place.release()

    Place(str(tmp_path)).release()
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_what_is_in_the_sockets_place_and_is_none_stays(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("mine")

    with pytest.raises(RuntimeFolderError, match="is no socket"):
        Place(str(tmp_path))

    assert (tmp_path / "control.sock").read_text() == "mine"


def test_no_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)

    with pytest.raises(RuntimeFolderError, match="is no folder"):
        Place(str(tmp_path / "link"))
    (real / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(RuntimeFolderError, match="lock cannot be opened"):
        Place(str(real))
    (real / "lock").unlink()
    (real / "control.sock").symlink_to(tmp_path / "victim")
    with pytest.raises(RuntimeFolderError, match="is no socket"):
        Place(str(real))

    assert not (tmp_path / "victim").exists()


def test_a_lock_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")

    with pytest.raises(RuntimeFolderError, match="is no file"):
        Place(str(tmp_path))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_where_others_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(RuntimeFolderError, match="can write there"):
        Place(str(folder))
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 1234, 1234)

    with pytest.raises(RuntimeFolderError, match="belongs to uid 1234"):
        Place(str(theirs))
    with pytest.raises(RuntimeFolderError, match="belongs to uid 1234"):
        Place(str(theirs / "below"))


@pytest.mark.parametrize("folder", ["/", "", "a\0b", "/proc/self/none/run"])
def test_what_cannot_be_the_folder(folder: str) -> None:
    with pytest.raises(RuntimeFolderError):
        Place(folder)


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")

    with pytest.raises(RuntimeFolderError, match="is no folder"):
        Place(str(tmp_path / "run"))
    with pytest.raises(RuntimeFolderError, match="is no folder"):
        Place(str(tmp_path / "run/below"))


def test_at_the_end_only_our_own_socket_is_removed(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    (tmp_path / "control.sock").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "control.sock"))
        place.release()

    assert (tmp_path / "control.sock").is_socket()


def test_a_refusal_leaves_no_descriptor_open(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "run"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/control.sock").write_text("")
    before = open_descriptors()

    for name in ("run", "other", "none/run"):
        with pytest.raises(RuntimeFolderError):
            Place(str(tmp_path / name))

    assert open_descriptors() == before
    place.release()
