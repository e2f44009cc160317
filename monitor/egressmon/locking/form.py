"""The text of a lock: one form for each content, so that a diff shows what changed."""

import os
import re
from collections.abc import Iterable, Mapping

from egressmon.errors import EgressmonError
from egressmon.locking.opening import open_itself
from egressmon.values import dataclass, field

EVIDENCE_LOCK = "evidence.lock"
MAX_FILES = 100_000
_MAX_BYTES = 32 << 20
_FILE = re.compile(r"(?P<path>[^#\s](?:.*\S)?)  (?P<digest>[0-9a-f]{64})")
_HEAD = re.compile(r"# head (?P<path>.+) (?P<digest>blake3:[0-9a-f]{64})")
_PINNED = re.compile(
    r"# (?P<what>policy|plan) (?P<path>.+) (?P<digest>sha256:[0-9a-f]{64})"
)
_ABSENT = re.compile(r"# (?P<what>policy|plan) none")
_TOOLS = re.compile(r"# tools \d{1,4}")
_TOOL = re.compile(
    r"# tool (?P<name>[A-Za-z0-9][\w.+ -]*) (?P<digest>(?:sha256|blake3):[0-9a-f]{64})",
    re.ASCII,
)


class LockError(EgressmonError):
    """A lock cannot be made, or one is malformed."""

    status = 2

    def __init__(self, message: str, hint: str, line: int | None = None) -> None:
        """`line` is the first that is wrong, from 1; None: it is about no line."""
        super().__init__(message, hint)
        self.line = line


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file of the directory that the rest is about, with its SHA-256."""

    path: str
    digest: str
    """`sha256:` and 64 digits, as `policy_digest` in `run.start` has it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock says. All paths are relative to its directory, with `/`."""

    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """The BLAKE3 of each file, 64 hexadecimal digits, by its path."""
    heads: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """The head of each evidence file's chain: `blake3:` and the digest of its last
    line, by path."""
    policy: Pinned | None = None
    plan: Pinned | None = None
    tools: Mapping[str, str] = field(default_factory=dict[str, str])
    """Digests of what made it (`sha256:` or `blake3:`), by name and version."""

    def text(self) -> str:
        """Return the lock as it is written.

        What there is none of has a line, too: so a line that is missing is missed.
        """
        lines = [f"{path}  {digest}" for path, digest in _sorted(self.files)]
        lines += [f"# head {path} {digest}" for path, digest in _sorted(self.heads)]
        for what, pinned in (("policy", self.policy), ("plan", self.plan)):
            shown = f"{pinned.path} {pinned.digest}" if pinned else "none"
            lines.append(f"# {what} {shown}")
        lines.append(f"# tools {len(self.tools)}")
        lines += [f"# tool {name} {digest}" for name, digest in _sorted(self.tools)]
        return "".join(f"{line}\n" for line in lines)


# By code points, which in UTF-8 is the order of the bytes: `LC_ALL=C sort`.
def _sorted(values: Mapping[str, str | None]) -> Iterable[tuple[str, str]]:
    return sorted((name, value or "") for name, value in values.items())


def why_not(path: str) -> str | None:
    """Return why a lock cannot have the relative path `path`; None: it can."""
    if path.startswith("/"):
        return "is absolute"
    if not path or any(part in {"", ".", ".."} for part in path.split("/")):
        return "leads elsewhere: it has `..`, `.` or an empty part"
    if path.startswith("#") or path != path.strip() or not path.isprintable():
        return "has a `#` or a blank at an end, or characters that cannot be shown"
    return None


def read_lock(path: str) -> Lock:
    """Return what the lock at `path` says.

    Raises LockError, with the line, if it is not exactly what `Lock.text` returns; and
    where it cannot be read.
    """
    return parse(read_bytes(path))


def read_bytes(path: str) -> bytes:
    """Return what is in the file `path`, which should be a lock; raises LockError."""
    try:
        with os.fdopen(open_itself(path), "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LockError(
            f"{path} cannot be read: {reason}", "name the directory that it is in"
        ) from error
    if len(data) > _MAX_BYTES:
        raise _malformed(None, f"is larger than {_MAX_BYTES} bytes")
    return data


def parse(data: bytes) -> Lock:
    """Return the lock that is written as `data`; raises LockError."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise _malformed(number, "is not UTF-8") from error
    reading = _Reading()
    for number, line in enumerate(text.split("\n")[:-1], 1):
        reading.take(number, line)
    lock = reading.lock()
    _require_same(text, lock.text())
    return lock


# What patterns let pass but nobody writes so: another order, a line twice, no newline.
def _require_same(text: str, written: str) -> None:
    if text == written:
        return
    found, wanted = text.split("\n"), written.split("\n")
    for number, (one, other) in enumerate(zip(found, wanted, strict=False), 1):
        if one != other:
            raise _malformed(number, "is out of order, or there twice")
    raise _malformed(len(found), "has no newline at its end, or is out of order")


class _Reading:
    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._heads: dict[str, str | None] = {}
        self._pinned: dict[str, Pinned] = {}
        self._tools: dict[str, str] = {}

    def take(self, number: int, line: str) -> None:
        if match := _FILE.fullmatch(line):
            self._files[_path(number, match)] = match["digest"]
        elif match := _HEAD.fullmatch(line):
            self._heads[_path(number, match)] = match["digest"]
        elif match := _PINNED.fullmatch(line):
            pinned = Pinned(_path(number, match), match["digest"])
            self._pinned[match["what"]] = pinned
        elif _ABSENT.fullmatch(line) or _TOOLS.fullmatch(line):
            pass  # it is there because of the other lines, or is not as it should be
        elif match := _TOOL.fullmatch(line):
            self._tools[match["name"]] = match["digest"]
        else:
            raise _malformed(number, "is none of a lock: `<path>  <64 digits>`")
        if len(self._files) > MAX_FILES:
            raise _malformed(number, f"is one of more than {MAX_FILES} files")

    def lock(self) -> Lock:
        return Lock(
            self._files,
            self._heads,
            self._pinned.get("policy"),
            self._pinned.get("plan"),
            self._tools,
        )


def _path(number: int, match: re.Match[str]) -> str:
    path = match["path"]
    if why := why_not(path):
        raise _malformed(number, f"names a path that {why}")
    return path


def _malformed(line: int | None, what: str) -> LockError:
    where = f"line {line} " if line else ""
    return LockError(
        f"the lock is malformed: {where}{what}",
        "restore it, or make it again and review the difference",
        line,
    )
