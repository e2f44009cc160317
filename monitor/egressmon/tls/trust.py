"""Whom to trust: the system's store of certificate authorities, or a file."""

import ssl
from pathlib import Path
from typing import NamedTuple

from egressmon.errors import UsageError

_HINT = "install ca-certificates, or name a file with --ca-file"


class Trust(NamedTuple):
    """Where the trusted certificates are: a file, a folder as OpenSSL's, or both."""

    file: str | None
    folder: str | None

    @property
    def text(self) -> str:
        """Where, for the record."""
        return " and ".join(one for one in (self.file, self.folder) if one)


def trust_of(ca_file: str | None) -> Trust:
    """Return the store in `ca_file`, else the system's; raises UsageError.

    The system's is where its Python looks: SSL_CERT_FILE and SSL_CERT_DIR count.
    """
    if ca_file is not None:
        if not Path(ca_file).is_file():
            raise UsageError(
                f"{ca_file} is no file", "name a PEM file of certificates to trust"
            )
        return Trust(ca_file, None)
    paths = ssl.get_default_verify_paths()
    trust = Trust(paths.cafile or None, paths.capath or None)  # None: it is not there
    if trust == Trust(None, None):
        raise UsageError("this system has no store of trusted certificates", _HINT)
    return trust
