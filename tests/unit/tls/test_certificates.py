"""What certificates say, and that nothing in one makes the reader fail."""

import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from egressmon.tls.certificates import Certificate, read_certificate
from egressmon.tls.staples import read_staple
from support.tls_servers import DAY, NOW, Authority

AUTHORITY = Authority()


def test_all_parts_are_read() -> None:
    paper = AUTHORITY.paper(
        ["example.org", "*.example.org", "192.0.2.7", "2001:db8::1"]
    )

    found = read_certificate(paper.der()[0])

    assert found == Certificate(
        found.sha256,
        subject="CN=a server",
        issuer="CN=Test Root R1",
        names=("example.org", "*.example.org", "192.0.2.7", "2001:db8::1"),
        not_before=NOW - 30 * DAY,
        not_after=NOW + 60 * DAY,
        key="EC secp256r1",
        signature="sha256",
    )
    assert len(found.sha256) == 64


def test_a_short_key_is_weak() -> None:
    key = ec.generate_private_key(ec.SECP192R1())

    found = read_certificate(AUTHORITY.paper(key=key).der()[0])

    assert found.weak == ("its key has 192 bits",)


def test_hostile_names_stay_as_they_are() -> None:
    names = [f"a{number}\x1b[31m\n::error::.example" for number in range(200)]

    found = read_certificate(AUTHORITY.paper(names).der()[0])

    assert found.names == tuple(names)
    assert not found.problems


def test_what_cannot_be_read_is_said() -> None:
    found = read_certificate(b"no certificate")

    assert not found.names
    assert found.problems[0].startswith("not readable: ")


@pytest.mark.filterwarnings("ignore")
def test_no_damage_makes_the_reader_fail() -> None:
    chance = random.Random(17)  # noqa: S311 -- a test's
    whole = AUTHORITY.paper(["example.org", "192.0.2.7"]).der()[0]
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        found = read_certificate(bytes(damaged))
        assert len(found.sha256) == 64


@pytest.mark.parametrize("length", [0, 1, 40, 200])
def test_a_certificate_that_is_cut_off_is_said(length: int) -> None:
    assert read_certificate(AUTHORITY.paper().der()[0][:length]).problems


def test_other_kinds_of_names_are_kept_apart() -> None:
    name = x509.UniformResourceIdentifier("spiffe://example.org/a")

    found = read_certificate(AUTHORITY.paper(extra=(name,)).der()[0])

    assert found.names == ("localhost",)
    assert found.others == ("UniformResourceIdentifier:spiffe://example.org/a",)


def test_a_staple_that_cannot_be_read_is_said() -> None:
    found = read_staple(b"\x30\x03garbage")

    assert found.status is None
    assert found.problem
