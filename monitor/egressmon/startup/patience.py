"""Write egressmon's own text to standard error, but not wait for ever for its reader.

A pipe that nobody reads, or a terminal that is stopped (Ctrl-S), would hold up the end
of the run, whose status somebody else waits for. What cannot be written within five
seconds, all in all, is dropped.
"""

import io
import os
import select
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PATIENCE_S = 5.0
_AGAIN_S = 0.01
_ERRORS = 2


class Patient(io.RawIOBase):
    """Standard error as a stream: `write` drops what takes too long."""

    def __init__(self) -> None:
        self._fd = _without_blocking()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._left_s = _PATIENCE_S

    def fileno(self) -> int:
        """Return the descriptor of standard error itself."""
        return _ERRORS

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return os.isatty(_ERRORS)

    def writable(self) -> bool:
        """Return true."""
        return True

    # Where it blocks all the same, poll(2) says that a pipe has room for this much.
    def write(self, data: "ReadableBuffer", /) -> int:
        """Write as much of `data` as there is time for; return the length of all."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest and self._has_room():
            try:
                rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]
            except BlockingIOError:
                time.sleep(_AGAIN_S)
                self._left_s -= _AGAIN_S
        return length

    def _has_room(self) -> bool:
        began = time.monotonic()
        found = self._poll.poll(max(0.0, self._left_s) * 1000)
        self._left_s -= time.monotonic() - began
        return bool(found)


# To set O_NONBLOCK on what others have open as well would change it for them. A pipe or
# a terminal can be opened again.
def _without_blocking() -> int:
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(_ERRORS).st_mode) or os.isatty(_ERRORS):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{_ERRORS}", flags)
    return _ERRORS


_streams: list[Patient] = []


def patient(stream: TextIO) -> TextIO:
    """Return a stream that drops, in place of `stream` if that is standard error."""
    if not _is_standard_error(stream):
        return stream
    if not _streams:
        _streams.append(Patient())
    return io.TextIOWrapper(
        io.BufferedWriter(_streams[0]),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


# A test may have put another stream there, which has no descriptor.
def _is_standard_error(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _ERRORS
    except (OSError, ValueError):
        return False


def say(text: str) -> None:
    """Write `text` to standard error at once, from whatever process and place."""
    data = text.encode("utf-8", "backslashreplace")
    with suppress(OSError):
        if _streams:
            _streams[0].write(data)
        else:
            os.write(_ERRORS, data)
