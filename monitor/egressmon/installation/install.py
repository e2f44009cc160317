"""`egressmon install`: an installation that only root can write, for root to run.

What the user may do is done as the user: building, downloading, hashing. Root gets
a digest and an installer as arguments, which nobody can change any more, and takes
only files of that digest (`install_root`).
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from egressmon.errors import EgressmonError, PrivilegeError, UsageError
from egressmon.installation.install_root import LOCK
from egressmon.installation.wheel import repack
from egressmon.privileges import privilege
from egressmon.startup import environment, installed, ownership
from egressmon.text import printable

_PYTHONS = tuple(
    f"{folder}/python{version}"
    for version in ("3", "3.14", "3.13", "3.12", "3.11")
    for folder in ("/usr/bin", "/usr/local/bin")
)
_FACTS = "import json, sys; print(json.dumps([sys.version_info[:2], sys.path]))"
# As root, from its argument: no file of a user's is run, and no byte of the wheel
# before its digest is known to be the one that the user meant.
BOOTSTRAP = """
import hashlib, os, shutil, sys, tempfile, zipfile
wheel, sha256, offered = sys.argv[1:]
folder = tempfile.mkdtemp(prefix="egressmon-install-", dir="/run")
try:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(wheel, flags), "rb") as file:
        data = file.read(1 << 28)
    if hashlib.sha256(data).hexdigest() != sha256:
        sys.exit("error: the wheel is not the one that was to be installed")
    copy = os.path.join(folder, os.path.basename(wheel))
    with open(copy, "xb") as file:
        file.write(data)
    unpacked = os.path.join(folder, "unpacked")
    zipfile.ZipFile(copy).extractall(unpacked)
    sys.dont_write_bytecode = True
    sys.path.insert(0, unpacked)
    from egressmon.installation.install_root import main
    status = main(copy, sha256, offered)
finally:
    shutil.rmtree(folder)
sys.exit(status)
"""


def command(wheel: str | None, *, quiet: bool) -> int:
    """Install `wheel`, or for None this egressmon, and return the status."""
    running = installed.read(Path(sys.prefix))
    if running is not None and not wheel:
        made = running.folder
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(wheel) if wheel else repack(Path(folder))
            made = install(file, quiet=quiet)
    if not quiet:
        launcher = made.parent / installed.LAUNCHER
        sys.stdout.write(f"{launcher}\n")
    return 0


def script(arguments: list[str]) -> int:
    """Do it for `scripts/egressmon`: WHEEL, and `--first` if nobody asked for it."""
    try:
        made = install(Path(arguments[0]), first="--first" in arguments)
    except EgressmonError as error:
        sys.stderr.write(f"error: {printable(error, 2000)}\nhint: {error.hint}\n")
        return error.status
    sys.stdout.write(f"{made}\n")
    return 0


def install(wheel: Path, *, first: bool = False, quiet: bool = False) -> Path:
    """Have wheel installed so that only root can write it; returns the folder.

    With `first`, only where nothing is installed yet: what replaces code that root
    runs is to be asked for. Raises UsageError and PrivilegeError.
    """
    sha256, version = _identify(wheel)
    root = installed.place()
    there = [*installed.installations(root)]
    python = _system_python()
    for one in there:
        if one.sha256 == sha256 and f"-cp{python[1]}" in one.folder.name:
            return one.folder
    if first and there and sha256 not in {one.sha256 for one in there}:
        raise PrivilegeError(
            "this checkout is not what is installed for root "
            f"({', '.join(one.folder.name for one in there)}), and is not installed "
            "unless you say so",
            "review what changed, then run `./scripts/egressmon install`",
        )
    if not quiet:
        sys.stderr.write(
            f"egressmon: installing for root, in {root}: egressmon {version}, "
            f"{printable(wheel.name)}, sha256 {sha256}\n"
        )
    with tempfile.TemporaryDirectory() as folder:
        _download(python[0], wheel, Path(folder))
        return _as_root(python[0], wheel, sha256, Path(folder))


def _identify(wheel: Path) -> tuple[str, str]:
    try:
        data = wheel.read_bytes()
        with ZipFile(wheel) as archive:
            archive.getinfo(LOCK)
        name, version, *_ = wheel.name.split("-")
    except (OSError, BadZipFile, KeyError, ValueError) as error:
        raise UsageError(f"{wheel} is no wheel of egressmon: {error}", _GIVE) from error
    if name != "egressmon" or wheel.suffix != ".whl":
        raise UsageError(f"{wheel} is no wheel of egressmon", _GIVE)
    return hashlib.sha256(data).hexdigest(), version


_GIVE = "egressmon install egressmon-VERSION-py3-none-any.whl"


# With the digits of its version. Whatever it loads must be root's alone.
def _system_python() -> tuple[str, str]:
    refused = ""
    for path in filter(os.path.exists, _PYTHONS):
        words = [path, "-I", "-S", "-c", _FACTS]
        done = subprocess.run(words, check=False, capture_output=True, cwd="/")  # noqa: S603
        if done.returncode:
            continue
        (major, minor), folders = json.loads(done.stdout)
        if (major, minor) < (3, 11):
            continue
        reasons = filter(None, map(ownership.obstacle, (path, *folders)))
        if not (reason := next(reasons, "")):
            return path, f"{major}{minor}"
        refused = f": {reason}"
    raise PrivilegeError(
        f"there is no Python 3.11 or later that is root's alone{refused}",
        "apt install python3 python3-venv (Ubuntu 22.04: python3.11 python3.11-venv)",
    )


# As the user, with the user's index and settings; the hashes are the lock file's.
def _download(python: str, wheel: Path, folder: Path) -> None:
    with ZipFile(wheel) as archive:
        (folder / "requirements.txt").write_bytes(archive.read(LOCK))
    variables = environment.variables(environment.original())
    variables.pop(b"", None)  # subprocess would refuse it
    for name in environment.FOREIGN_PYTHON:  # root may be who installs
        variables.pop(name.encode(), None)
    with tempfile.TemporaryDirectory() as tools:
        _run([python, "-I", "-m", "venv", tools], variables)
        words = [f"{tools}/bin/python", "-I", "-m", "pip", "--quiet", "download"]
        words += ["--disable-pip-version-check", "--no-deps", "--require-hashes"]
        words += ["--only-binary", ":all:", "--dest", str(folder)]
        _run([*words, "--requirement", str(folder / "requirements.txt")], variables)


def _run(words: list[str], variables: environment.Variables) -> None:
    done = subprocess.run(words, check=False, stdout=2, env=variables)  # noqa: S603
    if done.returncode:
        raise PrivilegeError(
            "what egressmon needs could not be downloaded",
            "see above; pip's settings and the network are yours",
        )


def _as_root(python: str, wheel: Path, sha256: str, folder: Path) -> Path:
    words = [python, "-I", "-S", "-c", BOOTSTRAP, str(wheel.resolve()), sha256]
    words.append(str(folder))
    if os.geteuid() != 0:
        interactive = sys.stdin.isatty() and sys.stderr.isatty()
        words = [*environment.WITHOUT_FOREIGN_PYTHON, *words]
        words = [privilege.find_sudo(), *([] if interactive else ["-n"]), *words]
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode:
        raise PrivilegeError(
            "egressmon could not be installed for root",
            "see above; root, or sudo, is needed once for each version",
        )
    return Path(done.stdout.strip())
