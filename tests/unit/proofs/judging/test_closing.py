"""The last looks at a proof's folder."""

from pathlib import Path

from egressmon.proofs.judging.closing import changes, no_secret
from egressmon.proofs.written.folder import Folder
from egressmon.proofs.written.known import KnownSecrets

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"


def test_what_cannot_be_read_is_no_secret(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    folder.write("a", b"x")
    (tmp_path / "proof/a").unlink()

    found = no_secret([folder], KnownSecrets())
    assert (found.result, found.figures) == ("unproven", "0 found")
    assert found.details == ["proof/a cannot be read: No such file or directory"]
    folder.write("b", TOKEN.encode())
    assert no_secret([folder], KnownSecrets()).result == "fails"


def test_a_folder_whose_mode_was_changed_is_written_to_again(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    assert changes(folder, []) == []
    (tmp_path / "proof").chmod(0)

    assert changes(folder, []) == ["proof: its mode was changed"]
    folder.write("a", b"x")
    assert (tmp_path / "proof/a").read_bytes() == b"x"
