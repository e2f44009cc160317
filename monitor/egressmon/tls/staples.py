"""The OCSP response that a server staples to its handshake (RFC 6066 section 8)."""

from datetime import datetime
from typing import NamedTuple


class Staple(NamedTuple):
    """What it says; its signature is not checked, so that it can accuse, not acquit."""

    status: str | None
    """good, revoked or unknown; for an answer without one, such as try_later, that."""
    this_update: datetime | None = None
    next_update: datetime | None = None
    problem: str | None = None
    """Why it cannot be read."""


def read_staple(der: bytes) -> Staple:
    """Return the response in `der`; never raises for what is in it."""
    from cryptography.x509 import ocsp  # noqa: PLC0415 -- optional

    try:
        found = ocsp.load_der_ocsp_response(der)
        if found.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return Staple(found.response_status.name.lower())
        status = found.certificate_status.name.lower()
        return Staple(status, found.this_update_utc, found.next_update_utc)
    except Exception as error:  # noqa: BLE001 -- of whatever kind: it is hostile
        return Staple(None, problem=str(error)[:200] or type(error).__name__)
