"""Run each program FOLDER/*.py by itself, some at once, each for 20 s at most."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LIMIT_S = 20


def run(program: Path) -> None:
    """Run `program`, whatever becomes of it."""
    with program.with_suffix(".log").open("wb") as log:
        try:
            subprocess.run(
                [sys.executable, str(program)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            log.write(b"\nended: it took too long\n")


with ThreadPoolExecutor(3) as pool:
    list(pool.map(run, sorted(Path(sys.argv[1]).glob("*.py"))))
