"""The start-up line that installs the guard in every Python of a virtual environment.

It is a `.pth` file (site.html in Python's documentation): read before the program, also
with -I and -E, not with -S. Its name sorts before most, and after the one by which an
editable installation of egressmon is found.
"""

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from egressmon.errors import UsageError
from egressmon.values import dataclass

FILE = "_egressmon_guard.pth"
_PREFIX = "# egressmon guard: "
_MAX_BYTES = 1 << 16
# If the guard itself cannot be imported, this much remains, and refuses everything.
_SOURCE = """\
try:
    from egressmon.guard import boot
    boot.begin(*settings)
except BaseException as reason:
    import sys
    why = f"egressmon guard: it cannot be started ({type(reason).__name__}: {reason})"
    def refuse(event, arguments):
        if event in {"socket.getaddrinfo", "socket.gethostbyname",
                     "socket.gethostbyaddr", "socket.getnameinfo"}:
            raise PermissionError(1, why)
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            if not isinstance(arguments[1], (str, bytes, type(None))):
                raise PermissionError(1, why)
    sys.addaudithook(refuse)
    if sys.stderr is not None:
        sys.stderr.write(why + ": every destination is refused\\n")
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the start-up line gives to the guard; all paths are absolute."""

    policy: str
    digest: str | None = None
    ledger: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and its folder of packages."""

    root: Path
    packages: Path

    @property
    def line(self) -> Path:
        """The file of the start-up line."""
        return self.packages / FILE


def environment_at(folder: str | None) -> Environment:
    """Return the virtual environment at `folder`; None: that of this command.

    Raises UsageError.
    """
    if folder is None:
        if sys.prefix == sys.base_prefix:
            raise UsageError(
                f"{sys.prefix} is no virtual environment",
                "name one: --environment DIR",
            )
        return Environment(Path(sys.prefix), Path(sysconfig.get_path("purelib")))
    root = Path(folder).absolute()
    if not (root / "pyvenv.cfg").is_file():
        raise UsageError(
            f"{folder} is no virtual environment: it has no pyvenv.cfg",
            "name the folder that `python -m venv` made",
        )
    found = sorted(root.glob("lib/python3.*/site-packages"))
    if len(found) != 1:
        raise UsageError(
            f"{folder} has {len(found)} folders lib/python3.*/site-packages, not one",
            "name an environment of one Python",
        )
    return Environment(root, found[0])


def require_guard(environment: Environment) -> None:
    """Raise UsageError if egressmon is not installed in `environment`."""
    if not any(_installations(environment.packages)):
        raise UsageError(
            f"egressmon is not installed in {environment.root}",
            f"{environment.root}/bin/python -m pip install egressmon",
        )


def _installations(packages: Path) -> Iterator[Path]:
    yield from packages.glob("egressmon-*.dist-info")
    yield from packages.glob("egressmon/guard/__init__.py")


def text_of(settings: Settings) -> str:
    """Return the file that makes each Python start with `settings`."""
    values = [settings.policy, settings.digest, settings.ledger]
    # In one line, as `site` reads it; ASCII, whatever the encoding that it takes.
    code = f"exec({_SOURCE!a}, {{'settings': {values!a}}})"
    return f"{_PREFIX}{json.dumps(values)}\nimport sys; {code}\n"


def enable(environment: Environment, settings: Settings) -> None:
    """Write the start-up line, in the place of one that is there.

    Raises UsageError if it cannot be written.
    """
    path = environment.line
    beside = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644
        )
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text_of(settings))
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def disable(environment: Environment) -> bool:
    """Remove the start-up line; return whether there was one. Raises UsageError."""
    try:
        environment.line.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(environment.line, error) from error
    return True


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path}: {error.strerror}", "run it as whoever owns the environment"
    )


def settings_in(environment: Environment) -> Settings | None:
    """Return what the start-up line of `environment` says; None: it has none.

    Raises UsageError if the file is not one that `enable` writes.
    """
    path = environment.line
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii")
        values = json.loads(text.partition("\n")[0].removeprefix(_PREFIX))
        settings = Settings(*values)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "see who may read it") from error
    except (ValueError, TypeError) as error:
        raise _changed(path) from error
    if text_of(settings) != text:
        raise _changed(path)
    return settings


def _changed(path: Path) -> UsageError:
    return UsageError(
        f"{path}: not as this version of `egressmon guard enable` writes it",
        "run `egressmon guard enable` again",
    )


def why_no_ledger(path: str | None) -> str | None:
    """Return why no decision can be written to `path`; None: it can, or none is."""
    if path is None:
        return None
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            return f"its ledger {path} is no regular file"
        if not place.exists() and not place.parent.is_dir():
            return f"its ledger {path} is in no folder"
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            return f"its ledger {path} cannot be written"
    except (OSError, ValueError) as error:
        return f"its ledger {path}: {error}"
    return None
