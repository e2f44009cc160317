"""Certificates read by `cryptography` into values; all that they say is untrusted."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from egressmon.values import dataclass

if TYPE_CHECKING:
    from cryptography import x509

_T = TypeVar("_T")
_WEAK_HASHES = frozenset({"md5", "sha1"})
_LEAST_RSA_BITS = 2048
_LEAST_EC_BITS = 224


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate; what could not be read of it is None or "", with a problem."""

    sha256: str
    """The digest of all its bytes, in hexadecimal."""
    subject: str = ""
    """As RFC 4514 writes names."""
    issuer: str = ""
    names: tuple[str, ...] = ()
    """Whom it is for: DNS names and addresses, in the order of the certificate."""
    others: tuple[str, ...] = ()
    """Subject names of other kinds, such as URI:spiffe://…."""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key: str | None = None
    """Such as RSA 2048, EC secp256r1, Ed25519."""
    signature: str | None = None
    """The hash that its issuer signed; None for schemes that have none."""
    weak: tuple[str, ...] = ()
    """What about its key or signature OpenSSL refuses at its usual security level."""
    problems: tuple[str, ...] = ()
    """What could not be read."""


def read_certificate(der: bytes) -> Certificate:
    """Return the certificate in `der`; never raises for what is in it."""
    from cryptography import x509  # noqa: PLC0415 -- optional

    digest = hashlib.sha256(der).hexdigest()
    try:
        found = x509.load_der_x509_certificate(der)
    except Exception as error:  # noqa: BLE001 -- of whatever kind: it is hostile
        return Certificate(digest, problems=(f"not readable: {_short(error)}",))
    return _Reader(found, digest).result()


def _short(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


class _Reader:
    def __init__(self, found: "x509.Certificate", digest: str) -> None:
        self._found = found
        self._digest = digest
        self._problems: list[str] = []

    def result(self) -> Certificate:
        found = self._found
        names, others = self._try("subject names", self._names) or ((), ())
        key, weak = self._try("key", self._key) or (None, ())
        subject = self._try("subject", lambda: _text(found.subject))
        issuer = self._try("issuer", lambda: _text(found.issuer))
        signature = self._try("signature", self._signature)
        # What signed itself is believed, or not, for other reasons.
        if signature in _WEAK_HASHES and subject != issuer:
            weak += (f"its signature is by way of {signature}",)
        return Certificate(
            self._digest,
            subject=subject or "",
            issuer=issuer or "",
            names=names,
            others=others,
            not_before=self._try("validity", lambda: found.not_valid_before_utc),
            not_after=self._try("validity", lambda: found.not_valid_after_utc),
            key=key,
            signature=signature,
            weak=weak,
            problems=tuple(dict.fromkeys(self._problems)),
        )

    # Each part is read when it is asked for, and fails by itself.
    def _try(self, what: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except Exception as error:  # noqa: BLE001 -- of whatever kind: it is hostile
            self._problems.append(f"{what} not readable: {_short(error)}")
            return None

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        from cryptography import x509  # noqa: PLC0415 -- optional

        try:
            extension = self._found.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
        except x509.ExtensionNotFound:
            return (), ()
        names: list[str] = []
        others: list[str] = []
        for one in extension.value:
            if isinstance(one, x509.DNSName | x509.IPAddress):
                names.append(str(one.value))
            else:
                others.append(_other(one))
        return tuple(names), tuple(others)

    def _key(self) -> tuple[str, tuple[str, ...]]:
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ec,
            rsa,
        )

        key = self._found.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            return f"RSA {key.key_size}", _short_key(key.key_size, _LEAST_RSA_BITS)
        if isinstance(key, ec.EllipticCurvePublicKey):
            short = _short_key(key.key_size, _LEAST_EC_BITS)
            return f"EC {key.curve.name}", short
        return type(key).__name__.strip("_").removesuffix("PublicKey"), ()

    def _signature(self) -> str | None:
        found = self._found.signature_hash_algorithm
        return found.name if found is not None else None


def _text(name: "x509.Name") -> str:
    return name.rfc4514_string()


def _other(name: "x509.GeneralName") -> str:
    from cryptography import x509  # noqa: PLC0415 -- optional

    value = name.value
    shown = _text(value) if isinstance(value, x509.Name) else str(value)
    if isinstance(name, x509.OtherName):
        shown = name.type_id.dotted_string
    return f"{type(name).__name__}:{shown}"


def _short_key(bits: int, least: int) -> tuple[str, ...]:
    return (f"its key has {bits} bits",) if bits < least else ()
