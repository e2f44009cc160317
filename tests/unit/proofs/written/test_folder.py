"""The folder of a proof, which others may change."""

import os
from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.proofs.written.folder import Folder


@pytest.mark.parametrize("there", ["a folder", "a file", "a link", "a dead link"])
def test_a_proof_goes_nowhere_where_something_is(tmp_path: Path, there: str) -> None:
    path = tmp_path / "proof"
    match there:
        case "a folder":
            path.mkdir()
        case "a file":
            path.touch()
        case "a link":
            path.symlink_to(tmp_path)
        case _:
            path.symlink_to("nowhere")

    with pytest.raises(UsageError, match="File exists"):
        Folder.make(str(path))


def test_a_proof_follows_no_link_that_is_put_into_it(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    (tmp_path / "victim").write_text("mine")
    for name in (".a.new", "a", "b"):
        (tmp_path / "proof" / name).symlink_to("../victim")

    folder.write("a", b"x")
    with pytest.raises(FileExistsError):
        folder.create("b")

    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "proof/a").read_text() == "x"


def test_what_others_do_to_a_proof_is_noticed(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    for name in ("same", "changed", "gone", "linked"):
        folder.write(name, b"x")
    at = tmp_path / "proof"
    (at / "changed").write_bytes(b"y")
    (at / "gone").unlink()
    (at / "linked").unlink()
    (at / "linked").symlink_to("same")
    (at / "new").touch()

    assert sorted(folder.changed()) == ["changed", "gone", "linked"]
    assert folder.unknown() == ["new"]
    assert folder.is_there()
    at.rename(tmp_path / "away")
    at.mkdir()
    assert not folder.is_there()


def test_a_fifo_in_a_files_place_does_not_hold_it_up(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    folder.write("a", b"x")
    (tmp_path / "proof/a").unlink()
    os.mkfifo(tmp_path / "proof/a")

    assert folder.changed() == ["a"]
