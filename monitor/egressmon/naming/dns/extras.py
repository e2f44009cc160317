"""Find what a DNS query carries besides its question.

Any byte of a query can carry data out of the machine. So a query is accepted only if it
has nothing but its question and what ordinary clients add to it.
"""

import struct

from egressmon.naming.dns.kinds import operation_name
from egressmon.naming.dns.rdata import OPT
from egressmon.naming.dns.wire import MessageError, Wire

_OPERATION = 0x7800
_USUAL = 0x0130  # recursion desired, authentic data, checking disabled
_DO = 0x8000  # DNSSEC OK (RFC 3225), the only flag that EDNS has
_INTERNET = 1
_MAX_PADDING = 468  # for responses; queries are padded to blocks of 128 (RFC 8467)
# The EDNS options that clients send: (name, least size, largest size) in a query.
_OPTIONS = {
    3: ("NSID", 0, 0),  # RFC 5001
    5: ("DAU", 0, 16),  # RFC 6975
    6: ("DHU", 0, 16),
    7: ("N3U", 0, 16),
    8: ("client subnet", 4, 20),  # RFC 7871
    9: ("EXPIRE", 0, 0),  # RFC 7314
    10: ("cookie", 8, 40),  # RFC 7873
    11: ("keepalive", 0, 2),  # RFC 7828
    12: ("padding", 0, _MAX_PADDING),  # RFC 7830
}
_PADDING = 12


def extras_of_query(
    wire: Wire, flags: int, family: int, counts: list[int], at: int
) -> str | None:
    """Return what a query carries besides its question; None if nothing unusual.

    `flags` and `counts` (of the answer, authority and additional records) are from the
    header, `family` is the question's class, and the question ends at the offset `at`.
    """
    if flags & _OPERATION:
        return f"it is no question but {operation_name((flags & _OPERATION) >> 11)}"
    if unusual := flags & ~_USUAL:
        return f"header bits that no query has (0x{unusual:04x})"
    if family != _INTERNET:
        return f"class {family} in place of IN"
    if counts[0] or counts[1]:
        return f"{counts[0] + counts[1]} records of an answer in a query"
    try:
        return _additional(wire, counts[2], at)
    except (MessageError, struct.error) as error:
        return f"an additional section that cannot be read ({error})"


def _additional(wire: Wire, count: int, at: int) -> str | None:
    if count > 1:
        return f"{count} additional records"
    if count:
        record = wire.resource(at)
        if record.kind != OPT or record.owner:
            return "an additional record that is not OPT"
        if record.ttl & ~_DO:
            return "flags of EDNS that no query has"
        if unusual := _unusual_option(wire, record.start, record.stop):
            return unusual
        at = record.stop
    if at < len(wire.data):
        return f"{len(wire.data) - at} bytes behind the message"
    return None


def _unusual_option(wire: Wire, at: int, stop: int) -> str | None:
    seen: set[int] = set()
    while at < stop:
        code, size = struct.unpack_from("!HH", wire.data, at)
        at += 4 + size
        if at > stop:
            return "an EDNS option over the record's end"
        name, least, most = _OPTIONS.get(code, (str(code), 0, 0))
        if code in seen or not (size == 0 or least <= size <= most):
            return f"EDNS option {name} of {size} bytes"
        if code == _PADDING and wire.data[at - size : at].strip(b"\0"):
            return "EDNS padding that is not zero"
        if code not in _OPTIONS:
            return f"EDNS option {name}, which is not known"
        seen.add(code)
    return None
