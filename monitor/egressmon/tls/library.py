"""The optional library: pyOpenSSL, with `cryptography` below it."""

from types import ModuleType

from egressmon.errors import UsageError


def openssl() -> ModuleType:
    """Return `OpenSSL.SSL`; raises UsageError if it is not installed.

    All that is used of the library is imported: later there may be no right to.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ec,
            rsa,
        )
        from cryptography.x509 import ocsp  # noqa: PLC0415
        from OpenSSL import SSL, crypto  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"handshakes need a library that cannot be imported: {error}",
            "install it beside egressmon: pip install 'egressmon[tls]'",
        ) from error
    del ec, rsa, ocsp, crypto  # they are imported, which is enough
    return SSL
