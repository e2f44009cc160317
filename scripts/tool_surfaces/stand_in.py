"""Stands for every server that a tool reaches: HTTP and HTTPS under any name.

    python stand_in.py FOLDER

FOLDER has the certificate of an authority, ca.pem and ca.key. It is run in a network
namespace without a network: it says `ready`, and serves once it has read a line, by
when the addresses are there.
"""

import ssl
import subprocess
import sys
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import answering_names
import packages

RESOLVER = "198.51.100.53"
_WHEEL, _TARBALL = packages.wheel(), packages.tarball()
_FILES: dict[tuple[str, str], tuple[bytes, str]] = {
    ("pypi.org", f"/simple/{packages.NAME}/"): (
        packages.simple_page(_WHEEL), "text/html",
    ),
    ("files.pythonhosted.org", f"/packages/{packages.WHEEL}"): (
        _WHEEL, "application/octet-stream",
    ),
    ("files.pythonhosted.org", f"/packages/{packages.WHEEL}.metadata"): (
        packages.METADATA.encode(), "application/octet-stream",
    ),
    ("registry.npmjs.org", f"/{packages.NAME}"): (
        packages.packument(_TARBALL), "application/json",
    ),
    ("registry.npmjs.org", f"/{packages.NAME}/-/{packages.TARBALL}"): (
        _TARBALL, "application/octet-stream",
    ),
    ("registry.npmjs.org", "/-/npm/v1/security/advisories/bulk"): (
        b"{}", "application/json",
    ),
    ("www.example.com", "/"): (
        b"<!DOCTYPE html><title>Example</title><p>Nothing else is loaded.",
        "text/html",
    ),
}  # fmt: skip


def found(host: str, path: str) -> tuple[int, bytes, str]:
    """Return the status, the body and the type of what is at `path` of `host`."""
    known = _FILES.get((host.partition(":")[0].lower(), path.partition("?")[0]))
    return (200, *known) if known is not None else (404, b"{}", "application/json")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds

    def do_GET(self) -> None:
        self._reply(*found(self.headers.get("Host", ""), self.path))

    def do_HEAD(self) -> None:
        self.do_GET()

    # What is posted is taken, whatever it is: telemetry has no other answer.
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        _, body, kind = found(self.headers.get("Host", ""), self.path)
        self._reply(200, body, kind)

    def _reply(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        host = self.headers.get("Host", "?")
        path = self.path.partition("?")[0]
        print(self.command, host, path, file=sys.stderr, flush=True)

    def log_error(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: those who are slow, or send no HTTP, are not of interest."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client may refuse the certificate, or go."""


# Each name gets a certificate as it is asked for.
class _Certificates:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._made = cache(self._make)

    def context(self, name: str) -> ssl.SSLContext:
        with self._lock:
            return self._made(name)

    def _make(self, name: str) -> ssl.SSLContext:
        at = self._folder / f"{len(list(self._folder.iterdir()))}.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"]
        words += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=example"]
        words += ["-CA", str(self._folder / "ca.pem")]
        words += ["-CAkey", str(self._folder / "ca.key")]
        words += ["-addext", f"subjectAltName=DNS:{name}"]
        words += ["-addext", "basicConstraints=critical,CA:FALSE"]
        words += ["-keyout", f"{at}.key", "-out", str(at)]
        subprocess.run(words, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at, f"{at}.key")
        return context


def _secured(server: _Server, certificates: _Certificates) -> None:
    context = certificates.context("example.invalid")

    def chosen(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            connection.context = certificates.context(name)

    context.sni_callback = chosen
    # The handshake is made by the connection's own thread.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )


def _main(folder: Path) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    secure, plain = _Server(("", 443), _Handler), _Server(("", 80), _Handler)
    _secured(secure, _Certificates(folder))
    for one in (secure, plain):
        threading.Thread(target=one.serve_forever, daemon=True).start()
    print("serving", flush=True)
    answering_names.serve(RESOLVER)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
