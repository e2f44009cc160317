"""What is wrong with what a host said: pure, from a record and the time."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from egressmon.tls.certificates import Certificate
from egressmon.tls.handshake import Problem
from egressmon.tls.record import Record

KINDS = (
    "invalid",
    "wrong-name",
    "revoked",
    "expiring",
    "old-protocol",
    "weak",
    "unreadable",
    "unfinished",
)
EXPIRES_WITHIN = 14
"""In how many days an end is a finding, unless it is said otherwise."""
_OLD = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})  # RFC 7568, RFC 8996

# X509_verify_cert_error_string(3); the numbers are the same in all versions.
_WORDS = {
    2: "the issuer's certificate is not known",
    7: "its signature is not its issuer's",
    9: "not valid yet",
    10: "expired",
    18: "self-signed, and not trusted",
    19: "issued by a root that is not trusted",
    20: "the issuer is not trusted, or a certificate in between was not sent",
    21: "the issuer is not trusted, or a certificate in between was not sent",
    22: "the chain is too long",
    23: "revoked",
    24: "the issuer is no authority",
    25: "the chain is longer than an authority in it allows",
    26: "not for servers",
    28: "its use is rejected",
    32: "the issuer may not sign certificates",
    34: "has a critical extension that is not understood",
    47: "names what an authority in the chain may not",
    66: "its key is too weak",
    67: "its issuer's key is too weak",
    68: "its signature is too weak",
}


class Finding(NamedTuple):
    """One thing that is wrong."""

    kind: str
    """One of KINDS."""
    text: str
    """What a server chose is in it, not yet escaped."""


def findings(record: Record, now: datetime, within_days: int) -> Iterator[Finding]:
    """Yield what is wrong at the time `now`; nothing if nothing is known."""
    leaf = record.leaf
    if leaf is None:
        return
    yield from _of_validation(record, leaf)
    yield from _expiring(record, now, within_days)
    if record.protocol in _OLD:
        yield Finding("old-protocol", f"{record.protocol} is what it speaks at best")
    yield from _of_certificates(record)
    if record.unfinished is not None:
        yield Finding("unfinished", f"the handshake broke off: {record.unfinished}")


def _of_validation(record: Record, leaf: Certificate) -> Iterator[Finding]:
    for problem in _of_interest(record.problems):
        yield Finding("invalid", _worded(problem, record))
    if not record.problems and not record.path and record.unfinished is None:
        yield Finding("invalid", "the chain was not validated")
    if not record.is_for_host:
        yield Finding("wrong-name", _wrong_name(record, leaf))
    if record.staple is not None and record.staple.status == "revoked":
        yield Finding("revoked", "the stapled OCSP response says: revoked")


def _of_certificates(record: Record) -> Iterator[Finding]:
    for at, one in enumerate(record.path or record.chain):
        if one.weak and (at == 0 or one.subject != one.issuer):
            yield Finding("weak", f"{_whose(at, one)}: {', '.join(one.weak)}")
    for at, one in enumerate(record.chain):
        if one.problems:
            yield Finding("unreadable", f"{_whose(at, one)}: {one.problems[0]}")


# Without an issuer OpenSSL says 20 and goes on to 21, of the same.
def _of_interest(problems: tuple[Problem, ...]) -> Iterator[Problem]:
    for one in problems:
        if one.code != 21 or not any(other.code in {2, 20} for other in problems):
            yield one


def _worded(problem: Problem, record: Record) -> str:
    text = _WORDS.get(problem.code, f"OpenSSL's verification error {problem.code}")
    if problem.depth < len(record.chain):
        return f"{_whose(problem.depth, record.chain[problem.depth])}: {text}"
    return f"certificate {problem.depth} of the chain: {text}"


def _whose(at: int, one: Certificate) -> str:
    return "the certificate" if at == 0 else f"the issuer {one.subject}"


def _wrong_name(record: Record, leaf: Certificate) -> str:
    if not leaf.names:
        return "the certificate is for no host: it has no subject names"
    more = f" and {len(leaf.names) - 3} more" if len(leaf.names) > 3 else ""
    shown = ", ".join(name[:100] for name in leaf.names[:3])
    return f"the certificate is not for {record.target.host}, but for {shown}{more}"


# The last certificate is trusted by being in the store, whatever its end.
def _expiring(record: Record, now: datetime, within: int) -> Iterator[Finding]:
    judged = record.path[:-1] if len(record.path) > 1 else record.path or record.chain
    for at, one in enumerate(judged):
        if one.not_after is None or one.not_before is None or one.not_after <= now:
            continue  # not readable, or expired: said already
        left = one.not_after - now
        if left < notice(one.not_after - one.not_before, within):
            days = left // timedelta(days=1)
            when = one.not_after.strftime("%Y-%m-%d")
            yield Finding(
                "expiring", f"{_whose(at, one)} ends in {days} days, on {when}"
            )


def notice(lifetime: timedelta, within_days: int) -> timedelta:
    """Return how long before its end a certificate with this `lifetime` is told of.

    Those of a few days are renewed when a third is left, and would be findings all
    the time.
    """
    return min(timedelta(days=within_days), lifetime / 3)
