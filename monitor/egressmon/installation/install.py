"""`egressmon install`: make an installation for root, which only root can write.

Building, downloading and hashing are done as the user. Then sudo starts Python with
the code of `BOOTSTRAP` and a digest as arguments, which nobody can change any more;
root uses a copy of the wheel only if it has that digest (`install_root`).
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from egressmon import files
from egressmon.errors import EgressmonError, PrivilegeError, UsageError
from egressmon.installation.install_root import LOCK
from egressmon.installation.wheel import repack
from egressmon.privileges import privilege
from egressmon.reports.writing.explaining import explanation
from egressmon.startup import environment, installed, ownership
from egressmon.startup.installed import Installation
from egressmon.text import printable

_PYTHONS = tuple(
    f"{folder}/python{version}"
    for version in ("3", "3.14", "3.13", "3.12", "3.11")
    for folder in ("/usr/bin", "/usr/local/bin")
)
_FACTS = "import json, sys; print(json.dumps([sys.version_info[:2], sys.path]))"
# Root's Python runs this code from its argument: no file of a user is executed, and the
# wheel is not used before its digest is checked.
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
    """Install `wheel`, or the running egressmon if it is None; return the exit status.

    Print the path of the program to call, unless `quiet`.
    """
    running = installed.read(Path(sys.prefix))
    if running is not None and not wheel:
        folder = running.folder
    else:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(wheel) if wheel else repack(Path(scratch))
            folder = install(file, quiet=quiet)
    if not quiet:
        launcher = folder.parent / installed.LAUNCHER
        sys.stdout.write(f"{launcher}\n")
    return 0


def script(arguments: list[str]) -> int:
    """Install for `scripts/egressmon`; `arguments` are WHEEL and perhaps `--first`.

    Print the installation's folder and return the exit status.
    """
    try:
        folder = install(Path(arguments[0]), first="--first" in arguments)
    except EgressmonError as error:
        sys.stderr.write(explanation(error, error.hint))
        return error.status
    sys.stdout.write(f"{folder}\n")
    return 0


def install(wheel: Path, *, first: bool = False, quiet: bool = False) -> Path:
    """Install `wheel` so that only root can write it, and return the folder.

    Do nothing if it is installed already. With `first`, refuse if another wheel is
    installed: code that root runs is replaced only if the user asks for it. Raises
    `UsageError` if `wheel` is not one, and `PrivilegeError` if root cannot install it.
    """
    sha256, version = _identify(wheel)
    root = installed.place()
    existing = [*installed.installations(root)]
    python, digits = _system_python()
    for one in existing:
        if one.sha256 == sha256 and f"-cp{digits}" in one.folder.name:
            return one.folder
    if first:
        _require_no_other(existing, sha256)
    if not quiet:
        sys.stderr.write(
            f"egressmon: installing for root, in {root}: egressmon {version}, "
            f"{printable(wheel.name)}, sha256 {sha256}\n"
        )
    with tempfile.TemporaryDirectory() as folder:
        _download(python, wheel, Path(folder))
        return _install_as_root(python, wheel, sha256, Path(folder))


def _require_no_other(existing: list[Installation], sha256: str) -> None:
    if existing and sha256 not in {one.sha256 for one in existing}:
        raise PrivilegeError(
            "this checkout is not what is installed for root "
            f"({', '.join(one.folder.name for one in existing)}), and is not installed "
            "unless you say so",
            "review what changed, then run `./scripts/egressmon install`",
        )


def _identify(wheel: Path) -> tuple[str, str]:
    try:
        # Not of a pipe, on which the opening would wait for ever.
        with os.fdopen(files.open_regular(str(wheel)), "rb") as file:
            data = file.read()
        with ZipFile(io.BytesIO(data)) as archive:
            archive.getinfo(LOCK)
        name, version, *_ = wheel.name.split("-")
    except (OSError, BadZipFile, KeyError, ValueError) as error:
        raise UsageError(
            f"{wheel} is no wheel of egressmon: {error}", _WHEEL_HINT
        ) from error
    if name != "egressmon" or wheel.suffix != ".whl":
        raise UsageError(f"{wheel} is no wheel of egressmon", _WHEEL_HINT)
    return hashlib.sha256(data).hexdigest(), version


_WHEEL_HINT = "egressmon install egressmon-VERSION-py3-none-any.whl"


# Find a Python that loads only code that others than root cannot change. Return its
# path and the digits of its version ("311").
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


# Runs as the user, with the user's package index and settings. pip accepts only files
# whose hashes are in the wheel's lock file.
def _download(python: str, wheel: Path, folder: Path) -> None:
    with ZipFile(wheel) as archive:
        (folder / "requirements.txt").write_bytes(archive.read(LOCK))
    variables = environment.variables(environment.original())
    variables.pop(b"", None)  # subprocess would refuse it
    for name in environment.FOREIGN_PYTHON:  # the user who installs may be root
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


def _install_as_root(python: str, wheel: Path, sha256: str, folder: Path) -> Path:
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
