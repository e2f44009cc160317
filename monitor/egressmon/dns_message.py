"""Read one DNS message (RFC 1035), whoever wrote it: never fails, says why not."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.svcbbase
import dns.rrset

from egressmon.events import Address
from egressmon.policy.names import canonical

_MAX_ANSWERS = 64
_MAX_TTL = 86400  # a week-long lie shall not outlive a day


@dataclass(frozen=True, slots=True)
class Message:
    """What a query asks, or what a response answers to which question."""

    identifier: int
    is_response: bool
    name: str
    kind: str
    """The record type asked for, such as AAAA."""
    status: str = ""
    """The response code, such as NOERROR."""
    truncated: bool = False
    answers: tuple[str, ...] = ()
    """The answer section as text, at most 64 records."""
    addresses: tuple[Address, ...] = ()
    """The addresses that the question's name leads to."""
    ttl: int = 0
    """Seconds for which that holds."""


class MessageError(ValueError):
    """Bytes that are no DNS message with one question."""


def read_message(data: bytes) -> Message:
    """Return the message in data; raises MessageError, and nothing else."""
    try:
        parsed = dns.message.from_wire(
            data, ignore_trailing=True, raise_on_truncation=False
        )
        return _message(parsed)
    except MessageError:
        raise
    # dnspython raises ValueError, struct.error, KeyError and more on hostile bytes.
    except Exception as error:
        raise MessageError(f"{type(error).__name__}: {error}") from error


def _message(parsed: dns.message.Message) -> Message:
    if len(parsed.question) != 1:
        raise MessageError(f"{len(parsed.question)} questions in one message")
    question = parsed.question[0]
    name = canonical(question.name.to_text())
    kind = dns.rdatatype.to_text(question.rdtype)
    if not parsed.flags & dns.flags.QR:
        return Message(parsed.id, is_response=False, name=name, kind=kind)
    addresses, ttl = _addresses(parsed, question)
    return Message(
        identifier=parsed.id,
        is_response=True,
        name=name,
        kind=kind,
        status=dns.rcode.to_text(parsed.rcode()),
        truncated=bool(parsed.flags & dns.flags.TC),
        answers=_answers(parsed),
        addresses=addresses,
        ttl=ttl,
    )


def _answers(parsed: dns.message.Message) -> tuple[str, ...]:
    lines: list[str] = []
    for rrset in parsed.answer:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        owner = canonical(rrset.name.to_text())
        for rdata in _records(rrset):
            if len(lines) == _MAX_ANSWERS:
                return tuple(lines)
            lines.append(f"{owner} {kind} {rdata.to_text()[:255]}")
    return tuple(lines)


# The addresses at the end of the question's CNAME chain, with the least TTL.
def _addresses(
    parsed: dns.message.Message, question: dns.rrset.RRset
) -> tuple[tuple[Address, ...], int]:
    if not isinstance(parsed, dns.message.QueryMessage):
        return (), 0
    if parsed.rcode() != dns.rcode.NOERROR:
        return (), 0
    try:
        chain = parsed.resolve_chaining()
    except dns.exception.DNSException:
        return (), 0  # a loop, or a chain longer than any resolver follows
    if chain.answer is None:
        return (), 0
    found: list[Address] = []
    for rdata in _records(chain.answer):
        if question.rdtype in {dns.rdatatype.A, dns.rdatatype.AAAA}:
            found.append(ipaddress.ip_address(rdata.to_text()))
        elif isinstance(rdata, dns.rdtypes.svcbbase.SVCBBase):
            found += _hints(rdata)
    return tuple(found), min(chain.minimum_ttl, _MAX_TTL)


# HTTPS and SVCB records may name addresses by themselves (RFC 9460 section 7.3).
def _hints(rdata: dns.rdtypes.svcbbase.SVCBBase) -> list[Address]:
    parameters = cast("Iterable[object]", rdata.params.values())
    found: list[Address] = []
    for parameter in parameters:
        if isinstance(
            parameter,
            dns.rdtypes.svcbbase.IPv4HintParam | dns.rdtypes.svcbbase.IPv6HintParam,
        ):
            hints = cast("Iterable[str]", getattr(parameter, "addresses", ()))
            found += [ipaddress.ip_address(hint) for hint in hints]
    return found


# dnspython leaves the records of a set untyped.
def _records(rrset: dns.rrset.RRset) -> "Iterable[dns.rdata.Rdata]":
    return cast("Iterable[dns.rdata.Rdata]", rrset)
