"""Who signed a lock, by ssh-keygen and by sigstore."""

import shutil
import subprocess
from pathlib import Path

import pytest

from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.place import verify
from egressmon.verifying.witnesses.bundles import Identity, check_bundle
from egressmon.verifying.witnesses.signatures import (
    BadSignatureError,
    SignatureError,
    sign,
    sign_lock,
    signer_of,
)


def make_key(path: Path) -> str:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a key, beside `allowed`, which allows it."""
    public = make_key(tmp_path / "key")
    line = f'ci@example.org namespaces="egressmon" {public}\n'
    (tmp_path / "allowed").write_text(line)
    return tmp_path / "key"


@pytest.fixture
def proof(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "proof")
    return tmp_path / "proof"


def test_an_allowed_signer_is_named(key: Path, proof: Path) -> None:
    sign_lock(str(proof), str(key))
    allowed = str(key.parent / "allowed")
    result = verify(str(proof), Wanted(allowed_signers=allowed))
    assert result.found == []
    assert any(note.endswith("is by ci@example.org") for note in result.notes)


def test_the_signature_of_another_lock_is_found(key: Path, proof: Path) -> None:
    sign_lock(str(proof), str(key))
    text = (proof / "evidence.lock").read_text()
    (proof / "evidence.lock").write_text(text.replace("# tools 0", "# tools 1"))
    allowed = str(key.parent / "allowed")
    found = verify(str(proof), Wanted(allowed_signers=allowed)).found
    assert {one.kind for one in found} == {"lock", "signature"}


def test_a_missing_signature_is_found(key: Path, proof: Path) -> None:
    allowed = str(key.parent / "allowed")
    (one,) = verify(str(proof), Wanted(allowed_signers=allowed)).found
    assert one.message == "there is no evidence.lock.sig, or no lock"


def test_a_signer_who_is_not_allowed_is_refused(key: Path) -> None:
    make_key(key.with_name("other"))
    allowed = str(key.parent / "allowed")
    for signature in (sign(b"lock", str(key.with_name("other"))), b"none", b""):
        with pytest.raises(BadSignatureError):
            signer_of(b"lock", signature, allowed)
    with pytest.raises(BadSignatureError):
        signer_of(b"another lock", sign(b"lock", str(key)), allowed)


def test_a_signer_for_another_purpose_is_refused(key: Path) -> None:
    allowed = key.parent / "allowed"
    allowed.write_text(allowed.read_text().replace("egressmon", "git"))
    with pytest.raises(BadSignatureError, match="namespace"):
        signer_of(b"lock", sign(b"lock", str(key)), str(allowed))


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "-Y", "--", "", "no\0ne", "x y"])
def test_a_name_of_a_key_is_no_option(name: str) -> None:
    with pytest.raises(SignatureError):
        sign(b"lock", name)


def test_a_missing_program_is_named(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none: dict[str, str] = {}
    monkeypatch.setattr(shutil, "which", none.get)
    with pytest.raises(SignatureError, match="ssh-keygen is not there") as raised:
        sign(b"lock", str(key))
    assert "openssh-client" in raised.value.hint


def test_without_the_library_a_bundle_is_not_checked() -> None:
    with pytest.raises(SignatureError, match="library is not installed") as raised:
        check_bundle(b"lock", b"{}", Identity("me@example.org", "https://id.example"))
    assert "egressmon[sigstore]" in raised.value.hint
