"""Follow the chain of a run's lines: each names the one before it, by its digest."""

from collections.abc import Callable
from typing import Protocol

from blake3 import blake3

from egressmon.evidence.records import SCHEMA
from egressmon.verifying.findings import Findings
from egressmon.verifying.sequence.envelope import (
    HEAD,
    Head,
    head_of,
    run_of,
    schema_number,
)
from egressmon.verifying.sequence.lines import Place

OnHead = Callable[[int, str], None]
"""Is called with the number of each record, and the digest of its line."""
NUMBER = int(SCHEMA.rpartition("/")[2])
_MARK = b"\xef\xbb\xbf"
_FIRST = b',"prev":null,'


class Reader(Protocol):
    """Who looks at the records in the lines."""

    def is_known(self, kind: bytes, own: bytes, body: bytes, time: bytes) -> bool:
        """Count a record that is as an earlier one; False: it is not."""
        ...

    def read(self, head: Head, line: bytes, body: bytes, place: Place) -> None:
        """Look at a record that may be like no other."""
        ...


class Chain:
    """The chain as far as it was followed, over all files of a run."""

    def __init__(
        self, findings: Findings, reader: Reader, on_head: OnHead | None
    ) -> None:
        self._findings = findings
        self._reader = reader
        self._on_head = on_head
        self._between = _FIRST
        """What each line must have between its envelope and its record."""
        self._own: bytes | None = None
        self._conversions: set[str] = set()
        self.run: str | None = None
        self.head: str | None = None
        """The digest of the last line, in hexadecimal."""
        self.next = 0
        """The number of the next record."""
        self.is_converted = False
        """Whether a tool wrote lines anew: with CR and LF, or a byte order mark."""

    def begin_at(self, line: bytes) -> None:
        """Go on with `line`, whatever it says was before it: that is not here."""
        head, _, rest = line.partition(b',"prev":')
        if (read := head_of(head)) is not None:
            self.next = read.seq
            self._between = b',"prev":' + rest.partition(b",")[0] + b","

    # Of most lines, all but number and time are as in an earlier one.
    def take(self, line: bytes, place: Place) -> None:
        """Follow the chain to `line`."""
        if line.endswith(b"\r") or line.startswith(_MARK):
            line = self._converted(line, place)
        head, _, body = line.partition(self._between)
        found = HEAD.fullmatch(head) if body else None
        if found is not None:
            kind, number, time, own = found.groups()
            if (
                own == self._own
                and int(number) == self.next
                and self._reader.is_known(kind, own, body, time)
            ):
                self._go_on(line)
                self.next += 1
                return
        self._look_at(line, head, body, place)

    # From here on, a line must name this one.
    def _go_on(self, line: bytes) -> None:
        self.head = blake3(line).hexdigest()
        self._between = b',"prev":"blake3:' + self.head.encode() + b'",'
        if self._on_head is not None:
            self._on_head(self.next, f"blake3:{self.head}")

    def _look_at(self, line: bytes, head: bytes, body: bytes, place: Place) -> None:
        if not body:
            head, body = self._other_chain(line, place)
        self._go_on(line)
        read = head_of(head)
        if read is None:
            self._misformed(line, place)
            self.next += 1
            return
        if read.seq != self.next:
            what = f"is numbered {read.seq}, and should be {self.next}"
            self._findings.add("sequence", what, place.number, place.offset)
        self.next = read.seq + 1
        if read.own != self._own:
            self._another(read.own, place)
        self._reader.read(read, line, body, place)

    # Some tools write a file anew as they copy it: what was in it can be verified.
    def _converted(self, line: bytes, place: Place) -> bytes:
        what = (
            "ends with CR and LF" if line.endswith(b"\r") else "has a byte order mark"
        )
        self.is_converted = True
        if what not in self._conversions:
            self._conversions.add(what)
            message = f"{what}: the file was converted"
            self._findings.add("schema", message, place.number, place.offset)
        return line.removeprefix(_MARK).removesuffix(b"\r")

    # The line says that another was before it: one was changed, removed or put in.
    def _other_chain(self, line: bytes, place: Place) -> tuple[bytes, bytes]:
        head, found, rest = line.partition(b',"prev":')
        prev, _, body = rest.partition(b",")
        if not found:
            return line, b""
        if head_of(head) is not None:
            said = prev.decode("utf-8", "replace")[:80]
            what = (
                f"says that the line before it is {said}, and that is "
                f"{self.head or 'none'}: one of the two was changed, removed or added"
            )
            at = place.offset + len(head) + 1
            self._findings.add("chain", what, place.number, at)
        return head, body

    def _misformed(self, line: bytes, place: Place) -> None:
        what = "does not begin as a record does"
        if (number := schema_number(line)) not in {None, NUMBER}:
            what = f"is of the schema egressmon/{number}, and the first line is not"
        self._findings.add("schema", what, place.number, place.offset)

    def _another(self, own: bytes, place: Place) -> None:
        run = run_of(own)
        if run is None:
            what = "has no run, or no phase"
            self._findings.add("schema", what, place.number, place.offset)
            return
        if self.run is None:
            self.run = run
        elif run != self.run:
            what = f"is of another run, {run}: the file holds more than one"
            self._findings.add("sequence", what, place.number, place.offset)
        self._own = own
