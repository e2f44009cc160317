"""One reviewable file that pins a directory: each file's digest, and what they rest on.

`write_lock` makes it, `read_lock` reads one, `check` compares a directory with its own.
"""

from egressmon.locking.comparing import Finding, Word, check
from egressmon.locking.form import EVIDENCE_LOCK, Lock, LockError, Pinned, read_lock
from egressmon.locking.making import write_lock

__all__ = [
    "EVIDENCE_LOCK",
    "Finding",
    "Lock",
    "LockError",
    "Pinned",
    "Word",
    "check",
    "read_lock",
    "write_lock",
]
