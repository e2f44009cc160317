"""Handshakes with servers on loopback: good ones, bad ones, and none at all."""

import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from egressmon.errors import UsageError
from egressmon.tls import handshake
from egressmon.tls.connecting import Reach
from egressmon.tls.findings import EXPIRES_WITHIN, Finding, findings
from egressmon.tls.handshake import Client
from egressmon.tls.probing import Limits, probe, probe_all
from egressmon.tls.record import Record, record_of
from egressmon.tls.targets import Target
from egressmon.tls.trust import trust_of
from support.tls_servers import (
    DAY,
    NOW,
    Authority,
    Paper,
    context_of,
    serving,
    shaking,
)

AUTHORITY = Authority()
OTHER = Authority("Other Root")
PATIENT = Limits(20, 20)
SHORT = Limits(20, 0.2)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(trust_of(str(AUTHORITY.write_root(tmp_path / "root.pem"))))


def judged(record: Record, now: datetime = NOW) -> list[Finding]:
    return list(findings(record, now, EXPIRES_WITHIN))


def kinds(record: Record) -> list[str]:
    return [one.kind for one in judged(record)]


def asked(
    paper: Paper, client: Client, folder: Path, host: str = "localhost"
) -> Record:
    with serving(shaking(context_of(paper, folder))) as port:
        return probe(Target(host, port), client, PATIENT)


def test_a_good_server_is_recorded_without_a_finding(
    client: Client, tmp_path: Path
) -> None:
    context = context_of(AUTHORITY.paper(), tmp_path)
    context.set_alpn_protocols(["http/1.1"])
    with serving(shaking(context)) as port:
        found = probe(Target("localhost", port), client, PATIENT)

    assert found.unknown is None
    assert (found.protocol, found.alpn) == ("TLSv1.3", "http/1.1")
    assert found.cipher is not None
    assert found.address in {"127.0.0.1", "::1"}
    assert [one.subject for one in found.chain] == ["CN=a server", "CN=Test Root R1"]
    assert [one.issuer for one in found.path] == [
        "CN=Test Root R1",
        "CN=Test Root",
        "CN=Test Root",
    ]
    assert found.is_valid
    assert found.staple is None
    assert not judged(found)


def test_an_address_is_asked_for_no_name(client: Client, tmp_path: Path) -> None:
    names: list[str | None] = []
    context = context_of(AUTHORITY.paper(["127.0.0.1"]), tmp_path)
    context.set_servername_callback(lambda _tls, name, _context: names.append(name))
    with serving(shaking(context)) as port:
        found = probe(Target("127.0.0.1", port), client, PATIENT)

    assert names == [None]
    assert found.is_valid


def test_an_expired_certificate_is_a_finding_and_recorded(
    client: Client, tmp_path: Path
) -> None:
    found = asked(AUTHORITY.paper(ends=NOW - DAY), client, tmp_path)

    assert judged(found) == [Finding("invalid", "the certificate: expired")]
    assert found.chain[0].not_after == NOW - DAY
    assert found.protocol == "TLSv1.3"


def test_one_that_is_not_valid_yet_is_a_finding(client: Client, tmp_path: Path) -> None:
    found = asked(AUTHORITY.paper(begins=NOW + DAY), client, tmp_path)

    assert judged(found) == [Finding("invalid", "the certificate: not valid yet")]


def test_one_that_is_for_clients_is_a_finding(client: Client, tmp_path: Path) -> None:
    paper = AUTHORITY.paper(use=ExtendedKeyUsageOID.CLIENT_AUTH)

    found = asked(paper, client, tmp_path)

    assert judged(found) == [Finding("invalid", "the certificate: not for servers")]


def test_one_that_expires_soon_is_a_finding(client: Client, tmp_path: Path) -> None:
    found = asked(AUTHORITY.paper(ends=NOW + 60 * DAY), client, tmp_path)

    assert not judged(found, NOW + 45 * DAY)
    (one,) = judged(found, NOW + 47 * DAY)
    assert one.kind == "expiring"
    assert "ends in 13 days" in one.text


def test_a_wrong_name_is_a_finding(client: Client, tmp_path: Path) -> None:
    paper = AUTHORITY.paper([f"{word}.example" for word in "abcde"])

    found = asked(paper, client, tmp_path)

    text = "the certificate is not for localhost, but for a.example, b.example, "
    assert judged(found) == [Finding("wrong-name", f"{text}c.example and 2 more")]
    assert not found.is_valid


def test_another_issuer_is_a_finding_and_recorded(
    client: Client, tmp_path: Path
) -> None:
    found = asked(OTHER.paper(), client, tmp_path)

    assert kinds(found) == ["invalid"]
    assert "the issuer is not trusted" in judged(found)[0].text
    assert found.chain[0].issuer == "CN=Other Root R1"
    assert not found.path


def test_a_self_signed_certificate_is_a_finding(client: Client, tmp_path: Path) -> None:
    found = asked(AUTHORITY.self_signed(), client, tmp_path)

    assert judged(found) == [
        Finding("invalid", "the certificate: self-signed, and not trusted")
    ]


def test_a_chain_with_a_gap_is_a_finding(client: Client, tmp_path: Path) -> None:
    found = asked(AUTHORITY.paper()._replace(above=()), client, tmp_path)

    assert len(judged(found)) == 1
    assert "was not sent" in judged(found)[0].text


def test_an_old_protocol_is_spoken_and_told(client: Client, tmp_path: Path) -> None:
    context = context_of(AUTHORITY.paper(), tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(shaking(context)) as port:
        found = probe(Target("localhost", port), client, PATIENT)

    assert found.protocol == "TLSv1.1"
    assert kinds(found) == ["old-protocol"]
    assert found.is_valid


def test_the_name_that_is_asked_for_decides(client: Client, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    context = context_of(AUTHORITY.paper(["a.example"], subject="A"), tmp_path)
    second = context_of(AUTHORITY.paper(["b.example"], subject="B"), tmp_path / "b")

    def choose(tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: object) -> None:
        if name == "b.example":
            tls.context = second

    context.set_servername_callback(choose)
    with serving(shaking(context)) as port:
        found = [shaken(host, port, client) for host in ("a.example", "b.example")]

    assert [one.chain[0].subject for one in found] == ["CN=A", "CN=B"]
    assert all(one.is_valid for one in found)


# The name is asked for, and not looked up.
def shaken(host: str, port: int, client: Client) -> Record:
    target = Target(host, port)
    with socket.create_connection(("127.0.0.1", port), 20) as connected:
        found = client.shake(target, connected, 20)
    return record_of(target, Reach(None, "127.0.0.1", ()), found)


def test_a_server_that_asks_for_a_certificate_is_recorded(
    client: Client, tmp_path: Path
) -> None:
    context = context_of(AUTHORITY.paper(), tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(shaking(context)) as port:
        found = probe(Target("localhost", port), client, PATIENT)

    assert kinds(found) == ["unfinished"]
    assert found.chain[0].subject == "CN=a server"
    assert found.unfinished


def stapling(paper: Paper, staple: bytes) -> Callable[[socket.socket], None]:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(paper.certificate)
    context.use_privatekey(paper.key)
    for one in paper.above:
        context.add_extra_chain_cert(one)
    context.set_ocsp_server_callback(lambda _tls, _: staple)

    def answer(connected: socket.socket) -> None:
        tls = SSL.Connection(context, connected)
        tls.set_accept_state()
        tls.do_handshake()
        while connected.recv(1024):
            pass

    return answer


def response(paper: Paper, status: ocsp.OCSPCertStatus) -> bytes:
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=paper.certificate,
        issuer=AUTHORITY.middle.certificate,
        algorithm=hashes.SHA1(),  # noqa: S303 -- how OCSP names certificates
        cert_status=status,
        this_update=NOW - DAY,
        next_update=NOW + DAY,
        revocation_time=NOW - DAY if revoked else None,
        revocation_reason=None,
    )
    responder = AUTHORITY.middle.certificate
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder).sign(
        AUTHORITY.middle.key, hashes.SHA256()
    )
    return signed.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("status", "found_kinds"),
    [
        (ocsp.OCSPCertStatus.GOOD, []),
        (ocsp.OCSPCertStatus.REVOKED, ["revoked"]),
        (ocsp.OCSPCertStatus.UNKNOWN, []),
    ],
)
def test_what_is_stapled_is_recorded(
    client: Client, status: ocsp.OCSPCertStatus, found_kinds: list[str]
) -> None:
    paper = AUTHORITY.paper()
    with serving(stapling(paper, response(paper, status))) as port:
        found = probe(Target("localhost", port), client, PATIENT)

    assert found.staple is not None
    assert found.staple.status == status.name.lower()
    assert found.staple.next_update == NOW + DAY
    assert kinds(found) == found_kinds


def hang(connected: socket.socket) -> None:
    while connected.recv(1024):
        pass


def drip(connected: socket.socket) -> None:
    connected.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB begins
    while True:
        connected.sendall(b"\x02")
        connected.settimeout(0.01)
        try:
            connected.recv(1024)
        except TimeoutError:
            continue


def garbage(connected: socket.socket) -> None:
    connected.sendall(b"\x1b[31m::error::SSH-2.0-OpenSSH_9.9\r\n")
    hang(connected)


def close(_: socket.socket) -> None:
    return


def record(kind: int, data: bytes) -> bytes:
    return bytes([kind, 3, 3]) + len(data).to_bytes(2, "big") + data


def endless(connected: socket.socket) -> None:
    """Begin TLS 1.2, and a list of certificates of 16 MB without an end."""
    suite = b"\xc0\x2f"  # ECDHE-RSA-AES128-GCM-SHA256
    renegotiation = b"\xff\x01\x00\x01\x00"  # RFC 5746
    hello = b"\x03\x03" + bytes(32) + b"\0" + suite + b"\0\x00\x05" + renegotiation
    connected.sendall(record(22, b"\x02" + len(hello).to_bytes(3, "big") + hello))
    connected.sendall(record(22, b"\x0b\xff\xff\xff\xff\xff\xff"))
    while True:
        connected.sendall(record(22, bytes(16000)))


@pytest.mark.parametrize(
    ("answer", "limits", "reason"),
    [
        (hang, SHORT, "not done after 0.2 s, with 0 bytes received"),
        (drip, SHORT, "not done after 0.2 s, with "),
        (garbage, PATIENT, "wrong version number"),
        (close, PATIENT, ""),  # by FIN, or by RST where our hello came too late
        (endless, PATIENT, "excessive message size"),
    ],
)
def test_what_is_no_handshake_is_unknown_with_a_reason(
    client: Client, answer: Callable[[socket.socket], None], limits: Limits, reason: str
) -> None:
    with serving(answer) as port:
        found = probe(Target("127.0.0.1", port), client, limits)

    assert found.unknown is not None
    assert reason in found.unknown
    assert found.address == "127.0.0.1"
    assert not judged(found)


def test_more_bytes_than_a_handshake_has_are_not_read(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "MAX_BYTES", 100)

    found = asked(AUTHORITY.paper(), client, tmp_path)

    assert found.unknown == "sent more than 100 bytes, and was not done"


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        yield held.getsockname()[1]


def test_who_does_not_answer_is_unknown(client: Client, closed_port: int) -> None:
    found = probe(Target("127.0.0.1", closed_port), client, PATIENT)

    assert found.unknown == "127.0.0.1: Connection refused"
    assert found.address is None


def test_a_name_that_does_not_exist_is_unknown(client: Client) -> None:
    found = probe(Target("nowhere.invalid", 443), client, PATIENT)

    assert found.unknown is not None
    assert found.unknown.startswith("the name has no address: ")


def test_records_come_in_order_and_hanging_hosts_hold_up_no_others(
    client: Client, tmp_path: Path
) -> None:
    context = context_of(AUTHORITY.paper(), tmp_path)
    with serving(hang) as slow, serving(shaking(context)) as fast:
        targets = [Target("localhost", one) for one in [slow, fast] * 6]
        found = list(probe_all(targets, client, Limits(20, 1)))

    assert [one.target for one in found] == targets
    assert [one.is_valid for one in found] == [False, True] * 6


def test_a_store_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()

    with pytest.raises(UsageError) as raised:
        Client(trust_of(str(tmp_path / "empty.pem")))

    assert "--ca-file" in raised.value.hint


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        trust_of(str(tmp_path / "gone.pem"))


def test_without_the_library_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = trust_of(str(AUTHORITY.write_root(tmp_path / "root.pem")))
    monkeypatch.setitem(sys.modules, "OpenSSL", None)

    with pytest.raises(UsageError) as raised:
        Client(trust)

    assert "pip install 'egressmon[tls]'" in raised.value.hint
