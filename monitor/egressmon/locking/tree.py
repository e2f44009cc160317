"""Digest each file below a directory, without ever leaving it.

Whoever may write there could put a link in a file's place, or swap a folder while it is
read. So each part of a path is opened by itself, relative to the folder before it, and
no link is followed. Nothing but regular files is opened.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from typing import NamedTuple

from blake3 import blake3

from egressmon.evidence.gate import MAX_RECORD
from egressmon.locking.form import MAX_FILES, why_not
from egressmon.locking.opening import kind_name, open_itself

_PIECE = 1 << 20
_MAX_DEPTH = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_EVIDENCE = b'{"schema":"egressmon/'


class Refused(NamedTuple):
    """Something below the directory that no lock can have; `why` follows "is"."""

    path: str
    why: str


class Digested(NamedTuple):
    """A file below the directory."""

    path: str
    blake3: str
    """64 hexadecimal digits."""
    head: str | None
    """`blake3:` and the digest of its last line, if it is evidence."""
    sha256: str | None
    """`sha256:` and 64 digits, if it was asked for."""


def digested(
    directory: str, left_out: Collection[str], also_sha256: Collection[str] = ()
) -> Iterator[Digested | Refused]:
    """Yield each file below `directory`, in no order, but for the paths `left_out`.

    Raises OSError if the directory itself cannot be read.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    count = 0
    try:
        for one in _below(top, "", 0):
            if isinstance(one, Refused):
                yield one
                continue
            folder, name, path = one
            if path in left_out:
                continue
            count += 1
            if count > MAX_FILES:
                yield Refused(path, f"one of more than {MAX_FILES} files")
                return
            yield _digest(folder, name, path, path in also_sha256)
    finally:
        os.close(top)


# Yields the (folder, name, path) of each regular file, while the folder is open.
def _below(
    folder: int, before: str, depth: int
) -> Iterator[tuple[int, str, str] | Refused]:
    with os.scandir(folder) as found:
        entries = [(one.name, one.stat(follow_symlinks=False)) for one in found]
    for name, status in sorted(entries):
        path = before + name
        kind = stat.S_IFMT(status.st_mode)
        why = why_not(path)
        if kind == stat.S_IFREG and why is None:
            yield folder, name, path
        elif kind == stat.S_IFDIR and depth < _MAX_DEPTH:
            yield from _inside(folder, name, path, depth)
        elif kind == stat.S_IFDIR:
            yield Refused(path, f"more than {_MAX_DEPTH} folders deep")
        elif kind == stat.S_IFREG:
            yield Refused(path, f"a file whose path {why}")
        else:
            yield Refused(path, kind_name(kind))


def _inside(
    folder: int, name: str, path: str, depth: int
) -> Iterator[tuple[int, str, str] | Refused]:
    try:
        inner = os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        yield Refused(path, f"a folder that cannot be read ({error.strerror})")
        return
    try:
        yield from _below(inner, f"{path}/", depth + 1)
    finally:
        os.close(inner)


def _digest(
    folder: int,
    name: str,
    path: str,
    also_sha256: bool,  # noqa: FBT001
) -> Digested | Refused:
    try:
        descriptor = open_itself(name, folder)
        try:
            return _read(descriptor, path, also_sha256)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Refused(path, f"a file that cannot be read ({error.strerror})")


def _read(
    descriptor: int,
    path: str,
    also_sha256: bool,  # noqa: FBT001
) -> Digested | Refused:
    whole, other, place, last = blake3(), hashlib.sha256(), 0, b""
    is_evidence = False
    while piece := os.pread(descriptor, _PIECE, place):
        if not place:
            is_evidence = path.endswith(".jsonl") and piece.startswith(_EVIDENCE)
        whole.update(piece)
        if also_sha256:
            other.update(piece)
        if is_evidence:
            last = (last + piece)[-2 * MAX_RECORD :]
        place += len(piece)
    return Digested(
        path,
        whole.hexdigest(),
        head_of(last) if is_evidence else None,
        f"sha256:{other.hexdigest()}" if also_sha256 else None,
    )


def head_of(end: bytes) -> str:
    """Return the head of a chain whose file ends with `end`."""
    line = end.removesuffix(b"\n").rpartition(b"\n")[2]
    return f"blake3:{blake3(line).hexdigest()}"
