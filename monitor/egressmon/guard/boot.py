"""What the start-up line of an environment calls, before any code of the program."""

from __future__ import annotations  # nothing is imported for them

import sys

from egressmon.guard import guard, source

_OWN = ["-I", "-m", "egressmon"]


def begin(path: str, digest: str | None = None, ledger: str | None = None) -> None:
    """Install the guard in this interpreter, with the policy at `path`.

    Not in the command `egressmon` itself, whose canaries go to where nothing may: what
    it runs is another program, which is guarded again.
    """
    if sys.orig_argv[1:4] == _OWN:
        return
    if ledger is not None:
        guard.EgressGuard.decisions(ledger)
    guard.begin(source.read(path, digest), has_line=True)
