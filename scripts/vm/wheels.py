"""Python packages of another architecture, which the agent and tests import there.

A folder with `agent`, what the kernel tests and the agent need, and `clients`, an
environment with the packages of tests/kernel/attribution, for a Python in the guest.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import kept
from architectures import Architecture
from archive import ArchiveError

ROOT = Path(__file__).resolve().parents[2]
GUEST = "/opt/packages"  # where a guest has the folder
_LOCKED = ROOT / "scripts/requirements/dev.txt"
_CLIENTS = ROOT / "tests/kernel/attribution/requirements.txt"
# Tools that no kernel test starts, or packages that only those need: 100 MB.
_UNNEEDED = {
    *("ast-serialize", "build", "editables", "grimp", "hatchling", "import-linter"),
    *("librt", "mypy", "nodeenv", "pyright", "ruff", "trove-classifiers", "uv"),
    *("types-jsonschema", "types-pyyaml"),
}
_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")


def get(architecture: Architecture, python: str, cache: Path) -> Path:
    """Return the folder of packages for Python `python` (3.11), made once in `cache`.

    Raises ArchiveError.
    """
    wanted = needed(_LOCKED.read_text()), _CLIENTS.read_text()

    def make(folder: Path) -> None:
        _make(architecture, python, folder, wanted[0])

    name = f"packages-{architecture.name}-{python}"
    return kept.get(cache, name, (wanted, _PLATFORMS), make)


def needed(requirements: str) -> str:
    """Return the text of a lock file without the packages that no guest needs."""
    blocks = re.split(r"\n(?=\S)", requirements)
    return "\n".join(one for one in blocks if _name(one) not in _UNNEEDED)


def _name(block: str) -> str:
    return re.split(r"[=\s\[]", block, maxsplit=1)[0]


def _make(architecture: Architecture, python: str, folder: Path, text: str) -> None:
    print(f"vmtest: fetching packages of Python {python}", file=sys.stderr, flush=True)
    (folder / "agent.txt").write_text(text)
    own = ["--python-version", python, "--implementation", "cp"]
    for platform in _PLATFORMS:
        own += ["--platform", f"{platform}_{architecture.machine}"]
    locks = ("--require-hashes", "--no-deps", "-r", str(folder / "agent.txt"))
    _install([*own, *locks], folder / "agent")
    clients = folder / "clients"
    make_environment(clients, python, [])
    target = clients / f"lib/python{python}/site-packages"
    _install([*own, "-r", str(_CLIENTS)], target)


def _install(options: Sequence[str], target: Path) -> None:
    pip = [str(ROOT / ".venv/bin/python"), "-I", "-m", "pip"]
    words = [*pip, "--disable-pip-version-check", "-q", "install", "--no-compile"]
    words += ["--only-binary", ":all:", "--target", str(target), *options]
    done = subprocess.run(words, check=False, stdout=sys.stderr)
    if done.returncode:
        raise ArchiveError(f"pip cannot fetch the packages of {target.name}")


def make_environment(folder: Path, python: str, imports: Sequence[str]) -> Path:
    """Make a virtual environment for a guest's /usr/bin/python3, which it has not run.

    `imports` are folders that it imports from besides. Returns its site-packages.
    """
    packages = folder / f"lib/python{python}/site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    )
    for name in ("python", "python3", f"python{python}"):
        (folder / "bin" / name).symlink_to(f"/usr/bin/python{python}")
    if imports:
        (packages / "guest.pth").write_text("\n".join(imports) + "\n")
    return packages
