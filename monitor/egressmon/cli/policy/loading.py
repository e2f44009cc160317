"""Load the policy that a verb of `egressmon policy` is about."""

import sys
from pathlib import Path

from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.text import printable


def load_and_remark(file: str) -> LoadedPolicy:
    """Load the policy `file`, and print remarks about it. Raises PolicyError."""
    loaded = load_policy(Path(file))
    for remark in loaded.remarks:
        sys.stderr.write(f"egressmon: policy: {printable(remark)}\n")
    return loaded
