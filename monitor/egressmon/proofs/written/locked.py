"""Pin a proof: `evidence.lock` has the digest of each of its files."""

import hashlib
from functools import cache
from pathlib import Path

import egressmon
from egressmon.host import egressmon_version
from egressmon.locking import EVIDENCE_LOCK, Lock, write_lock
from egressmon.policy.reading.file import PROJECT, LoadedPolicy
from egressmon.proofs.written.folder import Folder

__all__ = ["EVIDENCE_LOCK", "PLAN", "lock", "policy_name", "tool_digest"]
PLAN = "plan.toml"


def policy_name(policy: LoadedPolicy) -> str | None:
    """Return the name of the policy in a proof; None: there was no file."""
    if policy.path is None:
        return None
    # Its name says where in the file the policy is.
    return PROJECT if policy.path.name == PROJECT else "policy.toml"


def lock(folder: Folder, policy: str | None) -> Lock:
    """Write the lock of the whole proof, and return it; raises LockError."""
    return write_lock(
        folder.inside,
        EVIDENCE_LOCK,
        policy=policy,
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
