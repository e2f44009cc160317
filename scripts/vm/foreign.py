"""A guest of another architecture: its files, and this checkout as it sees it."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pythons
import userland
import wheels
from architectures import PYTHONS, Target
from archive import ArchiveError

CHECKOUT = wheels.ROOT
CLIENTS = f"{wheels.GUEST}/clients"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SOURCES = ("probes", "monitor", "policy")
_COMPILED = (*_SOURCES, "tests", "scripts")


@dataclass(frozen=True)
class Land:
    """The files of a guest: `root` is its root folder, `packages` its Python's."""

    root: Path
    packages: Path
    python: str

    def shares(self, checkout: Path, environment: Path) -> list[tuple[str, str]]:
        """Return what a guest has besides `root`: (folder here, path there).

        `environment` is what it has in place of the checkout's .venv.
        """
        return [
            (str(self.packages), wheels.GUEST),
            (str(checkout), str(checkout)),
            (str(environment), f"{checkout}/.venv"),
        ]


def get(target: Target, cache: Path) -> Land:
    """Return the files for `target`, made in `cache` if they are not there.

    Raises ArchiveError.
    """
    python = PYTHONS[target.suite]
    root = userland.get(target.architecture.name, target.suite, cache)
    packages = wheels.get(target.architecture, python, cache)
    pythons.compile_all(python, cache, [packages])
    return Land(root, packages, python)


def prepare(target: Target, checkout: Path, cache: Path, into: Path) -> None:
    """Make `into` a .venv for a guest, and `checkout` fit to run in one.

    The probes are compiled, and the modules, both where they are looked for.
    """
    python = PYTHONS[target.suite]
    folders = [str(checkout / name) for name in _SOURCES]
    packages = wheels.make_environment(
        into, python, [*folders, f"{wheels.GUEST}/agent"]
    )
    # By which pytest finds the plug-in, and the agent its version.
    for own in (wheels.ROOT / ".venv/lib").glob("python3*/site-packages/egressmon-*"):
        shutil.copytree(own, packages / own.name)
    shutil.copy2(checkout / "scripts/launcher.sh", into / "bin/egressmon")
    _compile_probes(checkout, target.architecture.machine)
    pythons.compile_all(python, cache, [checkout / name for name in _COMPILED])
    tests = [checkout / "tests/kernel", checkout / "tests/support"]
    agent = wheels.get(target.architecture, python, cache) / "agent"
    pythons.rewrite_asserts(python, cache, agent, tests)


def _compile_probes(checkout: Path, machine: str) -> None:
    probes = checkout / "probes/egressmon/probes"
    target = probes / "programs" / machine
    target.mkdir(exist_ok=True)
    objects = list(target.rglob("*.bpf.o"))
    sources = [probes / "architecture.py", *probes.glob("programs/**/*.[ch]")]
    newest = max(one.stat().st_mtime for one in sources)
    if objects and min(one.stat().st_mtime for one in objects) > newest:
        return
    words = [sys.executable, "-I", str(probes / "compile.py"), str(target), machine]
    if subprocess.run(words, check=False).returncode:
        raise ArchiveError(f"the probes cannot be compiled for {machine}")
