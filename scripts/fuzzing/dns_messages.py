"""Feed the reader of DNS messages what a coverage-guided fuzzer finds.

python dns_messages.py [SECONDS]     default: 60

Needs atheris (from PyPI; it is no dependency of the tests). Any bytes are a message or
refused by MessageError; and where dnspython reads them, too, both say the same of the
question, the status and the addresses. tests/unit/naming/dns/test_message.py has the
same in properties that run each time.
"""

import importlib
import sys
from ipaddress import ip_address
from typing import Any

import dns.exception
import dns.message
import dns.rdatatype

from egressmon.naming.dns.message import Message, MessageError, read_message


def check(data: bytes) -> None:
    """Read `data`, and compare what is read with what dnspython reads."""
    try:
        message = read_message(data)
    except MessageError:
        return
    try:
        parsed = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        return  # it also refuses what nothing is made of here
    question = parsed.question[0]
    asked = question.name.to_text().removesuffix(".")
    _expect(message.asked == asked, "name", message.asked, asked)
    kind = dns.rdatatype.to_text(question.rdtype)
    _expect(message.kind == kind, "kind", message.kind, kind)
    if message.is_response:
        _check_response(message, parsed)


def _check_response(message: Message, parsed: dns.message.Message) -> None:
    known: set[Any] = set()
    for rrset in parsed.answer:
        if rrset.rdtype in {dns.rdatatype.A, dns.rdatatype.AAAA}:
            known |= {ip_address(one.to_text()) for one in rrset}  # type: ignore[attr-defined]
    if message.kind in {"A", "AAAA"}:
        _expect(known >= set(message.addresses), "addresses", message.addresses, known)


def _expect(holds: bool, what: str, ours: object, theirs: object) -> None:  # noqa: FBT001 -- an assertion
    if not holds:
        raise AssertionError(f"{what}: {ours!r}, and dnspython has {theirs!r}")


def main() -> None:
    """Fuzz for as long as the argument says."""
    atheris: Any = importlib.import_module("atheris")
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    words = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=600"]
    atheris.instrument_all()
    atheris.Setup(words, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
