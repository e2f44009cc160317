"""The optional library: pyOpenSSL, with `cryptography` below it."""

from types import ModuleType

from egressmon.errors import UsageError


def require_library() -> None:
    """Raise UsageError if what a handshake needs is not installed."""
    openssl()


def openssl() -> ModuleType:
    """Return `OpenSSL.SSL`; raises UsageError if it is not installed."""
    try:
        import cryptography.x509  # noqa: F401, PLC0415
        from OpenSSL import SSL  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"handshakes need a library that cannot be imported: {error}",
            "install it beside egressmon: pip install 'egressmon[tls]'",
        ) from error
    return SSL
