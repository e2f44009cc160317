"""Read one DNS message (RFC 1035), which may be hostile."""

import struct
from collections.abc import Iterable
from itertools import islice

from egressmon.events.model import Address
from egressmon.naming.dns import rdata
from egressmon.naming.dns.extras import extras_of_query
from egressmon.naming.dns.kinds import kind_name, status_name
from egressmon.naming.dns.wire import MessageError, Resource, Wire
from egressmon.policy.language.names import canonical
from egressmon.values import dataclass

__all__ = ["Message", "MessageError", "identifier_of", "parse", "read_message"]

_MAX_ANSWERS = 64  # both answer records and addresses
_MAX_SKIPPED = 128
_MAX_CHAIN = 16  # aliases, about as many as resolvers follow
_MAX_TTL = 86400  # a day, even if a false answer claims a week
_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RESPONSE = 0x8000
_INTERNET = 1
_ADDRESSES = frozenset({rdata.A, rdata.AAAA, rdata.SVCB, rdata.HTTPS})


@dataclass(frozen=True, slots=True)
class Message:
    """A query with its question, or a response with its question and answers."""

    is_response: bool
    name: str
    kind: str
    """The record type asked for, such as AAAA."""
    asked: str = ""
    """The name as it was written: capital and small letters can carry data."""
    extras: str | None = None
    """What a query carries besides its question; None if nothing unusual."""
    status: str = ""
    """The response code, such as NOERROR."""
    answers: tuple[str, ...] = ()
    """The answer section as text, at most 64 records."""
    answer_count: int = 0
    """How many records the answer section has, according to the header."""
    addresses: tuple[Address, ...] = ()
    """The addresses of the question's name, by way of its aliases; at most 64."""
    left_out: int = 0
    """Records, or parts of them, that may have more addresses, and were not read."""
    ttl: int = 0
    """For how many seconds `addresses` hold."""
    aliases: tuple[str, ...] = ()
    """The names that the question's name leads to by CNAME or DNAME, in order."""


@dataclass(frozen=True, slots=True)
class _Question:
    name: str
    asked: str
    kind: int
    family: int
    end: int

    @property
    def asks_addresses(self) -> bool:
        """Whether its answer can name addresses."""
        return self.kind in _ADDRESSES and self.family == _INTERNET


def identifier_of(data: bytes) -> bytes:
    """Return what tells the message in `data` from others of its socket."""
    return data[:2]


def read_message(data: bytes) -> Message:
    """Return the message in `data`. Raises MessageError, whatever is wrong with it."""
    return parse(data)[0]


def parse(data: bytes) -> tuple[Message, Wire]:
    """Return the message in `data`, and how it was read. Raises MessageError."""
    if len(data) < _HEADER.size:
        raise MessageError(f"{len(data)} bytes are too few")
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    if questions != 1:
        raise MessageError(f"{questions} questions in one message")
    wire = Wire(data)
    question = _question(wire)
    if flags & _RESPONSE:
        return _response(wire, flags, question, counts), wire
    query = Message(
        is_response=False,
        name=question.name,
        kind=kind_name(question.kind),
        asked=question.asked,
        extras=extras_of_query(wire, flags, question.family, counts, question.end),
    )
    return query, wire


def _question(wire: Wire) -> _Question:
    asked, at = wire.name(_HEADER.size)
    try:
        kind, family = _QUESTION.unpack_from(wire.data, at)
    except struct.error:
        raise MessageError("the question runs over the message's end") from None
    return _Question(canonical(asked), asked, kind, family, at + _QUESTION.size)


def _response(
    wire: Wire, flags: int, question: _Question, counts: list[int]
) -> Message:
    records: list[Resource] = []
    at = question.end
    for _ in range(min(counts[0], _MAX_ANSWERS)):
        records.append(wire.resource(at))
        at = records[-1].stop
    status = flags & 15 | _extended_status(wire, at, sum(counts) - len(records))
    answers = tuple(_line(wire, record) for record in records)
    aliases: list[str] = []
    found, ttl = ([], 0) if status else _addresses(wire, question, records, aliases)
    unread = counts[0] - len(records) if question.asks_addresses and not status else 0
    return Message(
        is_response=True,
        name=question.name,
        kind=kind_name(question.kind),
        asked=question.asked,
        status=status_name(status),
        answers=answers,
        answer_count=counts[0],
        addresses=tuple(found[:_MAX_ANSWERS]),
        left_out=unread + len(found[_MAX_ANSWERS:]),
        ttl=ttl,
        aliases=tuple(aliases),
    )


def _line(wire: Wire, record: Resource) -> str:
    value = rdata.text(wire, record)
    return f"{record.owner} {kind_name(record.kind)} {value}"


# The upper bits of the response code are in the OPT record (RFC 6891 section 6.1.3).
# The other records behind the answers are of no interest, and may be damaged.
def _extended_status(wire: Wire, at: int, left: int) -> int:
    try:
        for _ in range(min(left, _MAX_SKIPPED)):
            record = wire.resource(at)
            if record.kind == rdata.OPT:
                return record.ttl >> 24 << 4
            at = record.stop
    except MessageError:
        pass
    return 0


# Follow aliases from the question to addresses, and add them to `aliases`; the TTL is
# the least on the way.
def _addresses(
    wire: Wire, question: _Question, records: list[Resource], aliases: list[str]
) -> tuple[list[Address], int]:
    if not question.asks_addresses:
        return [], 0
    records = [one for one in records if one.family == _INTERNET]
    name, ttl = question.name, _MAX_TTL
    for _ in range(_MAX_CHAIN):
        found = [one for one in records if _is(one, name, question.kind)]
        if found:
            return _named(wire, found), min(ttl, *(one.ttl for one in found))
        alias = _alias(wire, records, name)
        if alias is None:
            break
        name, ttl = alias[0], min(ttl, alias[1])
        aliases.append(name)
    return [], 0  # nothing there, a loop, or more than any resolver follows


def _is(record: Resource, name: str, kind: int) -> bool:
    return record.kind == kind and record.owner == name


# One more than are believed: a hint has room for thousands.
def _named(wire: Wire, records: Iterable[Resource]) -> list[Address]:
    found = (one for record in records for one in rdata.addresses(wire, record))
    return list(islice(found, _MAX_ANSWERS + 1))


# The next name and its TTL, by a CNAME of `name` or a DNAME above it (RFC 6672).
# Several that differ are ambiguous and lead nowhere.
def _alias(wire: Wire, records: list[Resource], name: str) -> tuple[str, int] | None:
    leads = {
        canonical(rdata.target(wire, one)): one.ttl
        for one in records
        if _is(one, name, rdata.CNAME)
    }
    if not leads:
        for one in records:
            above = "." + one.owner
            if one.kind == rdata.DNAME and name.endswith(above):
                below = canonical(rdata.target(wire, one))
                leads[f"{name.removesuffix(above)}.{below}"] = one.ttl
    return leads.popitem() if len(leads) == 1 else None
