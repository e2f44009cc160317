"""What is known of a host after a handshake with it: values, and the same as JSON."""

from datetime import datetime

from egressmon.tls.certificates import Certificate, read_certificate
from egressmon.tls.connecting import Reach
from egressmon.tls.handshake import Handshake, Problem
from egressmon.tls.hosts import is_for
from egressmon.tls.staples import Staple, read_staple
from egressmon.tls.targets import Target
from egressmon.values import dataclass

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One host: who answered, and how; without certificates, `unknown` says why."""

    target: Target
    address: str | None = None
    """The address that answered; what is here is of this one alone."""
    failed: tuple[str, ...] = ()
    """The addresses that did not answer before it, with reasons."""
    unknown: str | None = None
    """Why there is nothing to judge; None: there is."""
    unfinished: str | None = None
    """Why the handshake broke off, after the certificates."""
    protocol: str | None = None
    cipher: str | None = None
    group: str | None = None
    alpn: str | None = None
    chain: tuple[Certificate, ...] = ()
    """As the server sent it, its own first."""
    path: tuple[Certificate, ...] = ()
    """Up to a trusted one; empty if the validation failed."""
    problems: tuple[Problem, ...] = ()
    is_for_host: bool = False
    staple: Staple | None = None
    """The OCSP response that the server stapled; None: none."""

    @property
    def leaf(self) -> Certificate | None:
        """The server's own certificate."""
        return self.chain[0] if self.chain else None

    @property
    def issuers(self) -> tuple[str, ...]:
        """Who issued the server's certificate, who that one's, and so on.

        They are of the chain that was validated, else of the one that was sent.
        """
        return tuple(dict.fromkeys(one.issuer for one in self.path or self.chain))

    @property
    def is_valid(self) -> bool:
        """Whether a client of today would accept the certificate."""
        return bool(self.path) and self.is_for_host


def record_of(target: Target, reach: Reach, shaken: Handshake | None) -> Record:
    """Return the record of what was reached, and of the handshake if there was one."""
    if shaken is None or not shaken.sent:
        why = shaken.failure if shaken is not None else "; ".join(reach.failed)
        return Record(
            target,
            reach.address,
            reach.failed,
            unknown=why or "the server sent no certificate",
        )
    chain = tuple(map(read_certificate, shaken.sent))
    return Record(
        target,
        reach.address,
        reach.failed,
        unfinished=shaken.failure,
        protocol=shaken.protocol,
        cipher=shaken.cipher,
        group=shaken.group,
        alpn=shaken.alpn,
        chain=chain,
        path=tuple(map(read_certificate, shaken.path)),
        problems=shaken.problems,
        is_for_host=is_for(chain[0].names, target),
        staple=read_staple(shaken.staple) if shaken.staple else None,
    )


def as_json(record: Record) -> dict[str, object]:
    """Return `record` as JSON has it; texts are as the server chose them."""
    staple = record.staple
    return {
        "host": record.target.host,
        "port": record.target.port,
        "address": record.address,
        "failed": list(record.failed),
        "unknown": record.unknown,
        "unfinished": record.unfinished,
        "protocol": record.protocol,
        "cipher": record.cipher,
        "group": record.group,
        "alpn": record.alpn,
        "chain": [_certificate(one) for one in record.chain],
        "path": [one.subject for one in record.path],
        "valid": record.is_valid if record.chain else None,
        "is_for_host": record.is_for_host if record.chain else None,
        "staple": None
        if staple is None
        else {
            "status": staple.status,
            "this_update": _time(staple.this_update),
            "next_update": _time(staple.next_update),
            "problem": staple.problem,
        },
    }


def _certificate(one: Certificate) -> dict[str, object]:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "names": list(one.names),
        "other_names": list(one.others),
        "not_before": _time(one.not_before),
        "not_after": _time(one.not_after),
        "key": one.key,
        "signature": one.signature,
        "sha256": one.sha256,
        "problems": list(one.problems),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
