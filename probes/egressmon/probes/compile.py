"""Compile the probes into one CO-RE object with clang: at build time only."""

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
SOURCE = _HERE / "egressmon.bpf.c"
OBJECT = _HERE / "egressmon.bpf.o"
_REMEDY = (
    "the probes need clang, llvm-strip and the BPF headers to be built "
    "(Debian, Ubuntu: apt install clang llvm libbpf-dev)"
)


def compile_probes(target: Path = OBJECT) -> Path:
    """Write the object to target and return it; raises SystemExit on failure."""
    clang, strip = shutil.which("clang"), _strip()
    if clang is None or strip is None:
        raise SystemExit(f"error: {_REMEDY}")
    multiarch = f"/usr/include/{platform.machine()}-linux-gnu"  # asm/types.h
    command = [clang, "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    # The same words as wire.digest(), which cannot be imported while building.
    header = SOURCE.with_name("event.h").read_bytes()
    wire = "event.h:" + hashlib.sha256(header).hexdigest()[:16]
    command += [f'-DWIRE_DIGEST="{wire}"', f"-I{multiarch}"]
    command += ["-Werror", "-target", "bpf", "-c", str(SOURCE)]
    for step in ([*command, "-o", str(target)], [strip, "-g", str(target)]):
        if subprocess.run(step, check=False).returncode:  # noqa: S603 -- our own words
            raise SystemExit(f"error: {step[0]} failed; {_REMEDY}")
    return target


# Debian names it llvm-strip-14 where only a versioned package is installed.
def _strip() -> str | None:
    candidates = ["llvm-strip", *(f"llvm-strip-{n}" for n in range(21, 10, -1))]
    return next(filter(None, map(shutil.which, candidates)), None)


if __name__ == "__main__":
    print(compile_probes(Path(sys.argv[1]) if len(sys.argv) > 1 else OBJECT))  # noqa: T201 -- a build step
