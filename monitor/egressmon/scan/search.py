"""Search one file for secrets, window by window."""

import errno
import os
import re
import stat
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from egressmon.files import Kind, open_here
from egressmon.sanitise.paths import ShownPath, shown_path
from egressmon.sanitise.redaction import UNSEARCHED, Hit, search
from egressmon.scan import windows
from egressmon.scan.windows import ExpandsTooFarError, Read, Window, Windows

_TOO_FAR = "it unpacks to too much: only its beginning was searched"
_LONGEST_HEADER = 128 << 10
_TOO_LONG = "a run of characters is too long to be decoded as one"
_NOT_ALL = (
    "what is compressed here ends early or unpacks to too much: not all was searched"
)
# Of evidence and summaries: some of them look random, and parts of them most.
_OWN_DIGEST = re.compile(rb'blake3:[0-9a-f]{64}"')
_OWN_KEYS = (b'"prev":"', b'"head":"', b'"head": "')
_BLANK = b"blake3:" + b"0" * 64 + b'"'


class Leak(NamedTuple):
    """A secret in a file. It does not hold the secret, so it may be printed."""

    path: ShownPath
    line: int | None
    """None: it is in a name, the last part of `path`."""
    column: int | None
    """In bytes, from 1."""
    kind: str
    digest: str
    encodings: tuple[str, ...]


class Unsearched(NamedTuple):
    """A part of a file, or all of it, that was not searched, and why."""

    path: ShownPath
    line: int | None
    reason: str


class FileSearch:
    """The search of one file; `size` is what was read of it so far, in bytes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._shown = shown_path(path)
        self._line, self._line_start = 1, 0
        self._told: set[str] = set()

    def results(self) -> Iterator[Leak | Unsearched]:
        """Yield what is in the file, in order of place.

        Nothing is raised for bad input. Each reason why a part was not searched is
        told once, at its first place.
        """
        for result in self._opened():
            if isinstance(result, Unsearched):
                if result.reason in self._told:
                    continue
                self._told.add(result.reason)
            yield result

    def _opened(self) -> Iterator[Leak | Unsearched]:
        try:
            descriptor = _open(self.path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            yield self._unsearched(reason)
            return
        try:
            yield from self._read(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> Iterator[Leak | Unsearched]:
        def read(count: int) -> bytes:
            return os.read(descriptor, count)

        try:
            head = os.pread(descriptor, 8, 0)
            size = os.fstat(descriptor).st_size
            is_packed = windows.is_gzip(head)
            if is_packed:
                yield from self._in_header(os.pread(descriptor, _LONGEST_HEADER, 0))
            yield from self._all(windows.unpacking(read, size) if is_packed else read)
        except OSError as error:
            yield self._unsearched(error.strerror or str(error))
        except ExpandsTooFarError:
            yield self._unsearched(_TOO_FAR)
        except EOFError:
            yield self._unsearched("the compressed file ends early")
        except zlib.error:
            yield self._unsearched("the compressed file is damaged")

    def _in_header(self, packed: bytes) -> Iterator[Leak | Unsearched]:
        # Its first bytes are the mark of gzip, by which it would be unpacked.
        header = b"  " + windows.header_of(packed)[2:]
        for hit in search(header.replace(b"\0", b"\n")):
            column = hit.match.start + 1
            yield Leak(
                self._shown, 1, column, hit.match.kind, hit.digest, hit.encodings
            )

    def _unsearched(self, reason: str) -> Unsearched:
        return Unsearched(self._shown, None, reason)

    def _all(self, read: Read) -> Iterator[Leak | Unsearched]:
        found = Windows(read)
        for window in found:
            # Holes of sparse files are most of some.
            is_empty = window.data == bytes(len(window.data))
            hits = [] if is_empty else search(_without_own_digests(window.data))
            is_short = any(hit.match.kind == UNSEARCHED for hit in hits)
            if is_short and found.may_be_larger():
                continue
            yield from self._in_window(window, hits)
            self.size = window.offset + window.end

    def _in_window(
        self, window: Window, hits: list[Hit]
    ) -> Iterator[Leak | Unsearched]:
        at = window.first
        for hit in hits:
            if window.first <= hit.match.start < window.end:
                self._advance(window, at, hit.match.start)
                at = hit.match.start
                yield self._result(hit, window.offset)
        self._advance(window, at, window.end)
        if window.is_cut:
            yield Unsearched(self._shown, self._line, _TOO_LONG)

    def _advance(self, window: Window, start: int, end: int) -> None:
        if end > start and (lines := window.data.count(b"\n", start, end)):
            self._line += lines
            last = window.data.rfind(b"\n", start, end)
            self._line_start = window.offset + last + 1

    def _result(self, hit: Hit, offset: int) -> Leak | Unsearched:
        if hit.match.kind == UNSEARCHED:
            return Unsearched(self._shown, self._line, _NOT_ALL)
        column = offset + hit.match.start - self._line_start + 1
        kind = hit.match.kind
        return Leak(self._shown, self._line, column, kind, hit.digest, hit.encodings)


def _without_own_digests(data: bytes) -> bytes:
    def blank(found: re.Match[bytes]) -> bytes:
        before = data[max(0, found.start() - 9) : found.start()]
        return _BLANK if before.endswith(_OWN_KEYS) else found[0]

    return _OWN_DIGEST.sub(blank, data) if b"blake3:" in data else data


# What the path names is looked at before it is opened: opening a device can have
# effects, and opening a pipe can block.
def _open(path: str) -> int:
    place = open_here(os.fsencode(path), Kind.ENTRY)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file any more")
        # Some files of /proc block who reads them.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(f"/proc/self/fd/{place}", flags)
    finally:
        os.close(place)
