"""One handshake, bounded in time and bytes, in which nothing is refused.

OpenSSL does it between two buffers, so that each byte passes here. A certificate that
does not validate is noted and taken all the same, and old protocols are offered: what a
server has is to be recorded, and `findings.py` says what is wrong with it.
"""

import socket
import time
from contextlib import suppress
from typing import Any, NamedTuple, cast

from egressmon.errors import UsageError
from egressmon.text import from_bytes
from egressmon.tls.library import openssl
from egressmon.tls.targets import Target
from egressmon.tls.trust import Trust
from egressmon.values import dataclass

MAX_BYTES = 256 << 10
"""How much a server may send; of certificates, OpenSSL takes 100 KiB."""
_CHUNK = 16 << 10
_CIPHERS = b"DEFAULT:@SECLEVEL=0"
_ALPN = (b"h2", b"http/1.1")


class Problem(NamedTuple):
    """An error of validation, as OpenSSL numbers them, and where in the chain."""

    code: int
    depth: int
    """0 is the server's own certificate."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a server said, as it was said; certificates and the staple are DER."""

    failure: str | None
    """Why the handshake did not come to its end."""
    protocol: str | None = None
    cipher: str | None = None
    group: str | None = None
    """The key exchange, such as x25519."""
    alpn: str | None = None
    sent: tuple[bytes, ...] = ()
    """The certificates in the order in which they came."""
    path: tuple[bytes, ...] = ()
    """The chain up to a trusted certificate; empty if there was a problem."""
    problems: tuple[Problem, ...] = ()
    staple: bytes = b""
    """An OCSP response; empty: none was stapled."""


class _Failed(Exception):  # noqa: N818 -- says why, to nobody but `shake`
    """The handshake cannot go on."""


class Client:
    """Shakes hands, in any number of threads at a time."""

    def __init__(self, trust: Trust) -> None:
        """Read `trust`; raises UsageError if it or the library cannot be read."""
        library = openssl()
        # The library's types say less than is known here.
        self._context: Any = library.Context(library.TLS_CLIENT_METHOD)
        self._context.set_min_proto_version(library.TLS1_VERSION)
        self._context.set_cipher_list(_CIPHERS)
        self._context.set_alpn_protos(list(_ALPN))
        self._context.set_verify(library.VERIFY_PEER, _on_certificate)
        self._context.set_ocsp_client_callback(_on_staple)
        try:
            self._context.load_verify_locations(trust.file, trust.folder)
        except library.Error as error:
            raise UsageError(
                f"{trust.text}: no trusted certificates can be read",
                "name a PEM file of certificates with --ca-file",
            ) from error

    def shake(
        self, target: Target, connected: socket.socket, timeout: float
    ) -> Handshake:
        """Shake hands with `target` over `connected` in at most `timeout` seconds."""
        exchange = _Exchange(self._context, target, connected, timeout)
        failure = None
        try:
            exchange.run()
        except _Failed as error:
            failure = str(error)
        except TimeoutError:
            failure = exchange.late()
        except OSError as error:
            failure = error.strerror or str(error)
        return exchange.result(failure)


# These are called while an exchange shakes hands, in its thread.
def _on_certificate(tls: Any, _: object, code: int, depth: int, fine: int) -> bool:
    if not fine:
        tls.get_app_data().problems[Problem(code, depth)] = None
    return True


def _on_staple(tls: Any, staple: bytes, _: object) -> bool:
    tls.get_app_data().staple = staple
    return True


class _Exchange:
    def __init__(
        self, context: Any, target: Target, connected: socket.socket, timeout: float
    ) -> None:
        self._ssl = openssl()
        self._socket = connected
        self._timeout = timeout
        self._received = 0
        self.problems: dict[Problem, None] = {}
        self.staple = b""
        self._tls: Any = self._ssl.Connection(context, None)
        self._tls.set_app_data(self)
        self._tls.set_connect_state()
        self._tls.request_ocsp()
        if not target.is_address:  # RFC 6066 section 3: never an address
            self._tls.set_tlsext_host_name(target.host.encode())

    def run(self) -> None:
        """Take turns until the handshake is done; raises _Failed or OSError."""
        until = time.monotonic() + self._timeout
        done = False
        while not done:
            done = self._step()
            self._send(until)
            if not done:
                self._receive(until)
        with suppress(OSError, self._ssl.Error):
            self._tls.shutdown()
            self._send(until)

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except self._ssl.WantReadError:
            return False
        except self._ssl.Error as error:
            # An alert that says why is on its way out.
            with suppress(OSError):
                self._send(time.monotonic() + 1)
            raise _Failed(_reason(error)) from error
        return True

    def _send(self, until: float) -> None:
        while True:
            try:
                data = self._tls.bio_read(_CHUNK)
            except self._ssl.WantReadError:
                return
            self._wait(until)
            self._socket.sendall(data)

    def _receive(self, until: float) -> None:
        self._wait(until)
        data = self._socket.recv(_CHUNK)
        if not data:
            raise _Failed(f"closed the connection after {self._received} bytes")
        self._received += len(data)
        if self._received > MAX_BYTES:
            raise _Failed(f"sent more than {MAX_BYTES} bytes, and was not done")
        self._tls.bio_write(data)

    # For the next call on the socket, which raises TimeoutError.
    def _wait(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def late(self) -> str:
        """Return what to say when the time is up."""
        return (
            f"not done after {self._timeout:g} s, with {self._received} bytes received"
        )

    def result(self, failure: str | None) -> Handshake:
        """Return what is known; after a `failure`, what came before it."""
        done = failure is None
        problems = tuple(self.problems)
        sent = self._der(self._tls.get_peer_cert_chain())
        path = self._der(self._tls.get_verified_chain()) if done else ()
        alpn = self._tls.get_alpn_proto_negotiated()
        return Handshake(
            failure=failure,
            protocol=self._tls.get_protocol_version_name() if done else None,
            cipher=self._tls.get_cipher_name(),
            group=self._tls.get_group_name() if done else None,
            alpn=from_bytes(alpn) if alpn else None,
            sent=sent,
            path=() if problems else path,
            problems=problems,
            staple=self.staple,
        )

    def _der(self, chain: Any) -> tuple[bytes, ...]:
        from OpenSSL import crypto  # noqa: PLC0415 -- optional

        return tuple(
            crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in chain or ()
        )


# The reasons are OpenSSL's own words, not the server's.
def _reason(error: Exception) -> str:
    queue: Any = error.args[0] if error.args else ()
    text = str(error)
    if isinstance(queue, list):
        entries = cast("list[tuple[str, ...]]", queue)
        text = "; ".join(dict.fromkeys(one[-1] for one in entries if one[-1]))
    # Such as ZeroReturnError: an end in good order.
    return text or f"broken off ({type(error).__name__})"
