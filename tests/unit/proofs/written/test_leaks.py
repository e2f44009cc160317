"""Secrets in a proof are found, and its own digests are none."""

from pathlib import Path

import pytest

from egressmon.proofs.written.folder import Folder
from egressmon.proofs.written.leaks import search

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"

# The search takes this for a random secret, as it does few digests.
UNLUCKY = "9f4baf51ee8e210549c072a8e4036564c3bbff6d51dfe6b20fd3e54d0a3b688a"


def test_leaks_are_found_wherever_they_are(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    padding = b"harmless line\n" * 400_000
    folder.write("log", padding + b"key " + TOKEN.encode() + b"\n")

    (found,) = search(folder).found

    assert found.startswith("proof/log:400001: ")
    assert TOKEN not in found


@pytest.mark.parametrize("key", ["prev", "digest", "head"])
def test_digests_of_our_own_are_no_secrets(tmp_path: Path, key: str) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    line = f'{{"{key}":"blake3:{UNLUCKY}","phase":"a\\u0000"}}\n'
    folder.write("evidence.jsonl", line.encode())

    assert search(folder).found == []


def test_what_says_that_it_is_a_digest_is_searched(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    line = f'{{"argv":["\\"prev\\":\\"blake3:{TOKEN}\\""]}}\n'
    folder.write("evidence.jsonl", line.encode())
    folder.write("a.log", f'"prev":"blake3:{TOKEN}"\n'.encode())

    assert len(search(folder).found) == 2
