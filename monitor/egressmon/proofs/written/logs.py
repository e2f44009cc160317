"""What a process writes: kept for the proof without secrets, and searched for lines."""

from egressmon.proofs.written.known import KnownSecrets
from egressmon.sanitise.redaction import redact

_MOST = 4 << 20
_MAX_LINE = 4096
NOTHING_KNOWN = KnownSecrets()


def sanitise_log(data: bytes) -> bytes:
    """Return `data` with its secrets masked, so that a scan finds none."""
    return redact(data)[0]


def matches(pattern: str, line: str) -> bool:
    """Tell whether `line` has the text `pattern`, in which `*` stands for any text.

    With `^` in front, the line begins so. The process that writes the lines must not
    decide how long it takes: each part is searched for once, from where the last ended.
    """
    first, *parts = pattern.removeprefix("^").split("*")
    if pattern.startswith("^"):
        at = len(first) if line.startswith(first) else -1
    else:
        at = _after(first, line, 0)
    for part in parts:
        at = _after(part, line, at) if at >= 0 else -1
    return at >= 0


def _after(part: str, line: str, start: int) -> int:
    found = line.find(part, start)
    return found + len(part) if found >= 0 else -1


class Log:
    """The beginning of an output, 4 MB, and its lines as they come."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._left_out = 0
        self._partial = bytearray()
        self._lines: list[str] = []
        """Those that nobody has looked at."""

    def add(self, data: bytes) -> None:
        """Take more of the output."""
        room = _MOST - len(self._kept)
        self._kept += data[:room]
        self._left_out += max(0, len(data) - room)
        *lines, rest = (bytes(self._partial) + data).split(b"\n")
        self._partial = bytearray(rest[: 2 * _MAX_LINE])
        self._lines += [one[:_MAX_LINE].decode("utf-8", "replace") for one in lines]
        # Nobody may ever look for one.
        if len(self._lines) > _MAX_LINE:
            del self._lines[: -_MAX_LINE // 2]

    def has_line(self, pattern: str) -> bool:
        """Tell whether a line matches that comes after the last one that did."""
        for place, line in enumerate(self._lines):
            if matches(pattern, line):
                del self._lines[: place + 1]
                return True
        return False

    def sanitised(self, known: KnownSecrets = NOTHING_KNOWN) -> bytes:
        """Return what is kept of the output, without secrets."""
        kept = bytes(self._kept)
        is_cut = self._left_out > 0
        kept = known.masked_beginning(kept) if is_cut else known.masked(kept)
        text = sanitise_log(kept)
        if self._left_out:
            text += b"\n[egressmon: %d bytes more are left out]\n" % self._left_out
        return text
