"""A certificate authority of a test's own, and servers on loopback with its papers."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey


class Paper(NamedTuple):
    """A certificate with its key, and those above it, without the root."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    def der(self) -> tuple[bytes, ...]:
        return tuple(map(_der, (self.certificate, *self.above)))

    def write(self, path: Path) -> Path:
        """Write all of it as one file, as servers read it."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pem = serialization.Encoding.PEM
        chain = [one.public_bytes(pem) for one in (self.certificate, *self.above)]
        path.write_bytes(b"".join([key, *chain]))
        return path


def _der(one: x509.Certificate) -> bytes:
    return one.public_bytes(serialization.Encoding.DER)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """A root, and what it issues by way of one authority in between."""

    def __init__(self, name: str = "Test Root") -> None:
        self.root = self._issue(named(name), None, authority=True)
        self.middle = self._issue(named(f"{name} R1"), self.root, authority=True)

    def write_root(self, path: Path) -> Path:
        pem = self.root.certificate.public_bytes(serialization.Encoding.PEM)
        path.write_bytes(pem)
        return path

    def paper(  # noqa: PLR0913 -- a certificate says much
        self,
        names: Iterable[str] = ("localhost",),
        *,
        begins: dt.datetime = NOW - 30 * DAY,
        ends: dt.datetime = NOW + 60 * DAY,
        subject: str = "a server",
        key: Key | None = None,
        extra: tuple[x509.GeneralName, ...] = (),
        use: x509.ObjectIdentifier | None = None,
    ) -> Paper:
        leaf = self._issue(
            named(subject),
            self.middle,
            names=(*map(general, names), *extra),
            begins=begins,
            ends=ends,
            key=key,
            use=use,
        )
        return leaf._replace(above=(self.middle.certificate,))

    def self_signed(self, names: Iterable[str] = ("localhost",)) -> Paper:
        return self._issue(named("itself"), None, names=tuple(map(general, names)))

    def _issue(  # noqa: PLR0913 -- a certificate says much
        self,
        subject: x509.Name,
        issuer: Paper | None,
        *,
        authority: bool = False,
        names: tuple[x509.GeneralName, ...] = (),
        begins: dt.datetime = NOW - 300 * DAY,
        ends: dt.datetime = NOW + 300 * DAY,
        key: Key | None = None,
        use: x509.ObjectIdentifier | None = None,
    ) -> Paper:
        key = key or ec.generate_private_key(ec.SECP256R1())
        above, signer = (
            (issuer.certificate.subject, issuer.key) if issuer else (subject, key)
        )
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=above)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        if names:
            alternative = x509.SubjectAlternativeName(names)
            builder = builder.add_extension(alternative, critical=False)
        if use is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([use]), critical=False
            )
        return Paper(builder.sign(signer, hashes.SHA256()), key)


def context_of(paper: Paper, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paper.write(folder / "server.pem"))
    return context


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Generator[int]:
    """Have each connection answered by `answer`, in a thread; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def one(connected: socket.socket) -> None:
            with connected, suppress(OSError):
                answer(connected)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connected, _ = listening.accept()
                    threading.Thread(target=one, args=(connected,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with suppress(OSError):  # or accept(2) goes on
                listening.shutdown(socket.SHUT_RDWR)


def shaking(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Return what shakes hands by `context`, and reads to the end."""

    def answer(connected: socket.socket) -> None:
        with context.wrap_socket(connected, server_side=True) as tls:
            while tls.recv(1024):
                pass

    return answer
