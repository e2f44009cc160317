"""Compile the probes into CO-RE objects with clang; used at build time only.

compile.py [FOLDER [MACHINE]]     MACHINE as `uname -m` prints it

Without FOLDER, into the folder of the machine's name where the loader looks for them.
"""

import hashlib
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_PROGRAMS = _HERE / "programs"
# Each with the BPF instruction set that it needs: v3 has atomic exchange.
_SOURCES = {"egressmon.bpf.c": "v2", "python/frames.bpf.c": "v3"}
_REMEDY = (
    "the probes need clang, llvm-strip and the BPF headers to be built "
    "(Debian, Ubuntu: apt install clang llvm libbpf-dev)"
)


# Run by its path: the package cannot be imported while it is being built.
_ARCHITECTURE = runpy.run_path(str(_HERE / "architecture.py"))
_OWN: str = _ARCHITECTURE["machine"]()


def compile_probes(folder: Path | None = None, machine: str = _OWN) -> None:
    """Write the objects for `machine` into `folder`; raises SystemExit on failure.

    Without `folder`, into where the loader on such a machine looks for them.
    """
    if folder is None:
        folder = _PROGRAMS / machine
        folder.mkdir(exist_ok=True)
    clang, strip = shutil.which("clang"), _strip()
    if clang is None or strip is None:
        raise SystemExit(f"error: {_REMEDY}")
    command = [clang, "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    command += [f"-I{_PROGRAMS}"]
    # The same text as wire.digest() returns, which cannot be imported at build time.
    header = (_PROGRAMS / "event.h").read_bytes()
    wire = "event.h:" + hashlib.sha256(header).hexdigest()[:16]
    command += [f'-DWIRE_DIGEST="{wire}"', *_architecture(machine)]
    command += ["-Werror", "-target", "bpf"]
    for source, version in _SOURCES.items():
        target = str(folder / Path(source).with_suffix(".o").name)
        words = [f"-mcpu={version}", "-c", str(_PROGRAMS / source), "-o", target]
        for step in ([*command, *words], [strip, "-g", target]):
            if subprocess.run(step, check=False).returncode:  # noqa: S603 -- our own words
                raise SystemExit(f"error: {step[0]} failed; {_REMEDY}")


def machines() -> list[str]:
    """Return the machines whose probes can be compiled here; this one is the first.

    Others need their kernel headers, for cross-compiling.
    """
    return [_OWN, *(one for one in _known() if one != _OWN and _headers(one))]


def _known() -> dict[str, Any]:
    return dict(_ARCHITECTURE["ARCHITECTURES"])


def _headers(machine: str) -> list[str]:
    return [one for one in _known()[machine].headers if Path(one).is_dir()]


def _architecture(machine: str) -> list[str]:
    known = _known()
    if machine not in known:
        raise SystemExit(f"error: unknown architecture {machine}; {', '.join(known)}")
    one = known[machine]
    folders = [f"-I{folder}" for folder in _headers(machine)]
    if not folders and Path("/etc/debian_version").exists():
        raise SystemExit(
            f"error: no headers of {machine} (Debian: apt install "
            f"linux-libc-dev-{one.packages}-cross)"
        )
    return [*folders[:1], f"-D__TARGET_ARCH_{one.kernel}"]


# Debian's versioned packages have llvm-strip-14 and the like.
def _strip() -> str | None:
    candidates = ["llvm-strip", *(f"llvm-strip-{n}" for n in range(21, 10, -1))]
    return next(filter(None, map(shutil.which, candidates)), None)


if __name__ == "__main__":
    named = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    compile_probes(named, *sys.argv[2:3])
