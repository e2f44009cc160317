"""Which known libraries for networks a file is, or holds: by its name, symbols, texts.

A library by itself is a hint. Whether it can open connections is said by what it
imports, or calls; but what is linked statically, or looked up by name, may not show.
"""

import re
from collections.abc import Iterator

from egressmon.files.elf import Elf
from egressmon.inspection.budget import Budget
from egressmon.inspection.findings import Kind, Reason
from egressmon.inspection.windows import windows
from egressmon.values import dataclass

_OVERLAP = 256
_FILE_NAME = re.compile(
    r"lib(curl|uv|grpc\+*|ssl|crypto|pq|zmq|nghttp2|nghttp3|ngtcp2|cares|ssh2?|ldap|"
    r"gssapi_krb5|krb5|sasl2|mysqlclient|mariadb|hiredis|rdkafka|event|ev|websockets|"
    r"mosquitto|paho-mqtt3\w*|nanomsg|nng|rabbitmq|neon|soup|gio|quiche|msquic|"
    r"boringssl|gnutls|mbedtls|wolfssl)(?:-gnutls|-openssl)?(?:-[\w.]+)*\.so[\d.]*"
)
_BY_SYMBOL = {
    "curl_easy_perform": "libcurl",
    "uv_tcp_connect": "libuv",
    "grpc_channel_create": "gRPC",
    "SSL_connect": "OpenSSL",
    "BIO_new_connect": "OpenSSL",
    "PQconnectStart": "libpq",
    "zmq_connect": "libzmq",
    "nghttp2_session_client_new": "nghttp2",
    "ares_init_options": "c-ares",
    "ldap_initialize": "OpenLDAP",
    "krb5_sendto_kdc": "Kerberos",
    "mysql_real_connect": "MySQL",
    "redisConnect": "hiredis",
    "rd_kafka_new": "librdkafka",
}


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that a library leaves in whatever it is linked into."""

    text: bytes
    library: str
    version: re.Pattern[bytes] | None = None
    """Of the text with its version; where there is one, both must be there."""
    kind: Kind = "library"


_TEXTS = (
    _Text(b"libcurl/", "libcurl", re.compile(rb"libcurl/(\d+\.\d+\.\d+)")),
    _Text(b"OpenSSL ", "OpenSSL", re.compile(
        rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) +\d{1,2} [A-Z][a-z]{2} \d{4}")),
    _Text(b"BoringSSL", "BoringSSL"),
    _Text(b"libuv-worker", "libuv"),
    _Text(b"uv__io_poll", "libuv"),
    _Text(b"grpc-c/", "gRPC"),
    _Text(b"(PostgreSQL) ", "libpq", re.compile(rb"\(PostgreSQL\) (\d+\.\d+)")),
    _Text(b"nghttp2/", "nghttp2", re.compile(rb"nghttp2/(\d+\.\d+\.\d+)")),
    _Text(b"ZMQ_IO_THREADS", "libzmq"),
    _Text(b"c-ares", "c-ares", re.compile(rb"c-ares[/ ](\d+\.\d+\.\d+)")),
    _Text(b"rustls::client", "rustls"),
    _Text(b"reqwest::connect", "reqwest"),
    _Text(b"\xff Go buildinf:", "Go", kind="go"),
    _Text(b"net.(*sysDialer)", "net, of Go", kind="go"),
    _Text(b"UPX!", "UPX", kind="packed"),
)  # fmt: skip
_LOADED = re.compile(
    rb"lib(?:curl|ssl|grpc|uv|pq|zmq|nghttp2|ldap|gssapi_krb5|krb5|mysqlclient)"
    rb"(?:-gnutls)?\.so[\d.]*\0"
)
_CONNECT = b"\0connect\0"


def by_name(name: str) -> Iterator[Reason]:
    """Yield what the file name `name` says."""
    match = _FILE_NAME.fullmatch(name)
    if match is not None:
        yield Reason("library", f"is named as lib{match[1]}", sure=False)


def by_symbols(elf: Elf) -> Iterator[Reason]:
    """Yield the libraries of which `elf` defines a function. Raises ElfError."""
    found = {known: None for name, known in _BY_SYMBOL.items() if elf.symbol(name)}
    for library in found:
        yield Reason("library", f"defines functions of {library}", sure=False)


def by_texts(elf: Elf, budget: Budget, *, looks_up: bool) -> list[Reason]:
    """Return the libraries of which `elf` holds texts.

    With `looks_up`, the file can look up functions by name: then it is said where it
    has the names for it. Raises ElfError and SpentError.
    """
    found: dict[str, Reason] = {}
    for _, data in windows(elf, 0, elf.file_size, _OVERLAP, budget):
        for one in _TEXTS:
            if one.library not in found and (reason := _reason(data, one)):
                found[one.library] = reason
        if looks_up:
            found.update(_looked_up(data))
    if _TEXTS[-2].library in found:  # the Dial of Go's standard library
        found.pop("Go", None)
    return list(found.values())


def _reason(data: bytes, one: _Text) -> Reason | None:
    place = data.find(one.text)
    if place < 0:
        return None
    if one.kind == "go":
        sure = one.library != "Go"
        what = "is a Go program with the package net" if sure else "is a Go program"
        return Reason("go", what, sure=sure)
    if one.kind == "packed":
        return Reason("packed", "is packed by UPX, so its code is not seen", sure=False)
    if one.version is None:
        return Reason("library", f"holds {one.library}", sure=False)
    match = one.version.search(data, place)
    if match is None:
        return None
    version = match[1].decode("ascii")
    return Reason("library", f"holds {one.library} {version}", sure=False)


def _looked_up(data: bytes) -> Iterator[tuple[str, Reason]]:
    if _CONNECT in data:
        what = "looks functions up by name, and has the name connect"
        yield "connect", Reason("loads", what, sure=False)
    place = data.find(b".so")
    match = _LOADED.search(data) if place >= 0 else None
    if match is not None:
        name = match[0].rstrip(b"\0").decode("ascii")
        yield name, Reason("loads", f"may load {name}", sure=False)
