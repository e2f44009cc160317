"""Sign a lock with an SSH key, and check its signature: with ssh-keygen."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from egressmon.errors import EgressmonError
from egressmon.locking import EVIDENCE_LOCK
from egressmon.locking.form import read_bytes
from egressmon.locking.making import SIGNATURES, replace_file

NAMESPACE = "egressmon"
_LIMIT_S = 60.0
_KEPT = ("HOME", "SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY", "TERM")
_MAX_SIGNATURE = 1 << 16


class SignatureError(EgressmonError):
    """A lock cannot be signed, or its signature cannot be checked."""

    status = 2


class BadSignatureError(Exception):
    """The signature is not one of an allowed signer; the message says why."""


def sign(data: bytes, key: str) -> bytes:
    """Return the signature of `data` by the SSH key in the file `key`.

    `key` is a private key, or a public one whose private one an agent has. The form is
    that of `ssh-keygen -Y sign`, for the namespace `egressmon`. Raises SignatureError.
    """
    words = ("sign", "-n", NAMESPACE, "-f", _named(key))
    done = _run(words, data)
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise SignatureError(
            f"it cannot be signed with {key}: {_complaint(done)}",
            "name an SSH key, such as ~/.ssh/id_ed25519; ssh-keygen 8.2 or newer signs",
        )
    return done.stdout


def sign_lock(directory: str, key: str, name: str = EVIDENCE_LOCK) -> None:
    """Sign the lock `name` of `directory` with the SSH key in the file `key`.

    The signature is beside it, with `.sig` at the end of the name; an earlier one is
    replaced. Raises SignatureError and LockError.
    """
    signature = sign(read_bytes(str(Path(directory, name))), key)
    replace_file(directory, f"{name}{SIGNATURES[0]}", signature)


def signer_of(data: bytes, signature: bytes, allowed: str) -> str:
    """Return which of the signers in the file `allowed` (ssh-keygen(1)) signed `data`.

    Raises BadSignatureError if none did, and SignatureError if it cannot be found out.
    """
    if len(signature) > _MAX_SIGNATURE:
        raise BadSignatureError("the signature is longer than any is")
    if not os.path.isfile(allowed):  # noqa: PTH113 -- False where it may not be asked
        raise SignatureError(
            f"{allowed} is no file of allowed signers",
            'one line for each: NAME namespaces="egressmon" KEYTYPE KEY',
        )
    # From a copy: who can write the signature's file could change it meanwhile.
    with tempfile.NamedTemporaryFile(prefix="egressmon-") as file:
        file.write(signature)
        file.flush()
        return _checked(data, file.name, _named(allowed))


def _checked(data: bytes, signature: str, allowed: str) -> str:
    found = _run(("find-principals", "-s", signature, "-f", allowed), b"")
    names = found.stdout.decode("utf-8", "replace").splitlines()
    if found.returncode or not names:
        raise BadSignatureError(f"no allowed signer made it ({_complaint(found)})")
    done = found
    for name in names:
        words = ("verify", "-n", NAMESPACE, "-s", signature, "-f", allowed, "-I", name)
        done = _run(words, data)
        if not done.returncode:
            return name
    raise BadSignatureError(f"it is not of this lock ({_complaint(done)})")


# An absolute path is never taken for an option.
def _named(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 -- links are the program's to follow


def _run(words: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise SignatureError(
            "the program ssh-keygen is not there",
            "install it (Debian: openssh-client), 8.2 or newer",
        )
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        return subprocess.run(  # noqa: S603 -- no shell, and each path is absolute
            [program, "-Y", *words],
            input=data,
            capture_output=True,
            check=False,
            timeout=_LIMIT_S,
            env={**kept, "LC_ALL": "C", "PATH": os.defpath},
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SignatureError(
            f"ssh-keygen failed: {error}", "try it by hand: ssh-keygen -Y"
        ) from error


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return next((line for line in lines if line.strip()), f"status {done.returncode}")
