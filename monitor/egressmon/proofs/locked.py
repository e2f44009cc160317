"""Pin a proof: `evidence.lock` has the digest of each of its files."""

import hashlib
from functools import cache
from pathlib import Path

import egressmon
from egressmon.host import egressmon_version
from egressmon.locking import EVIDENCE_LOCK, write_lock
from egressmon.proofs.folder import Folder

PLAN, POLICY = "plan.toml", "policy.toml"


def lock(folder: Folder) -> None:
    """Write the lock of the whole proof; raises LockError."""
    write_lock(
        folder.inside,
        EVIDENCE_LOCK,
        policy=POLICY,
        plan=PLAN,
        tools={f"egressmon {egressmon_version()}": tool_digest()},
    )


@cache
def tool_digest() -> str:
    """Return the digest of all of this egressmon's own files, by their names."""
    digest = hashlib.sha256()
    for top in egressmon.__path__:
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and path.suffix in {".py", ".h", ".c", ".o", ".json"}:
                inner = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(top)} {inner}\n".encode())
    return f"sha256:{digest.hexdigest()}"
