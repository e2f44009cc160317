"""The proof in the docs verifies, as anybody would verify it."""

import subprocess
from pathlib import Path

from support.watching import EGRESSMON

PROOF = Path(__file__).parents[2] / "docs/examples/proof"


def test_it_verifies() -> None:
    done = subprocess.run(
        [*EGRESSMON, "verify", str(PROOF)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
