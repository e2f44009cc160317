"""What of a host goes to the baseline, and what of it is a difference later."""

from collections.abc import Mapping

import pytest

from egressmon.tls.certificates import Certificate
from egressmon.tls.comparing import Difference, compare
from egressmon.tls.handshake import Problem
from egressmon.tls.record import Record
from egressmon.tls.tables import MAX_NAMES, Table, Value, table_of
from egressmon.tls.targets import Target
from egressmon.values import replace
from support.tls_servers import DAY, NOW

LEAF = Certificate(
    "a" * 64,
    subject="CN=a server",
    issuer="CN=R1,O=Authority",
    names=("b.example", "a.example"),
    not_before=NOW - DAY,
    not_after=NOW + 60 * DAY,
    key="EC secp256r1",
    signature="sha256",
)
ROOT = Certificate("b" * 64, subject="CN=Root", issuer="CN=Root")
MIDDLE = Certificate("c" * 64, subject="CN=R1,O=Authority", issuer="CN=Root")
GOOD = Record(
    Target("a.example", 443),
    address="192.0.2.7",
    protocol="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    group="x25519",
    alpn="h2",
    chain=(LEAF, MIDDLE),
    path=(LEAF, MIDDLE, ROOT),
    is_for_host=True,
)
TABLE: Table = {
    "alpn": "h2",
    "cipher": "TLS_AES_256_GCM_SHA384",
    "issuers": ("CN=R1,O=Authority", "CN=Root"),
    "key": "EC secp256r1",
    "names": ("a.example", "b.example"),
    "protocol": "TLSv1.3",
    "valid": True,
}


def test_a_table_has_neither_times_nor_digests() -> None:
    assert table_of(GOOD) == TABLE


def test_a_renewed_certificate_is_no_difference() -> None:
    leaf = replace(LEAF, sha256="d" * 64, not_before=NOW, not_after=NOW + 90 * DAY)
    renewed = replace(GOOD, chain=(leaf, MIDDLE), path=(leaf, MIDDLE, ROOT))

    assert table_of(renewed) == TABLE


def test_of_a_chain_that_fails_the_issuers_are_those_that_were_sent() -> None:
    failed = replace(GOOD, path=(), problems=(Problem(20, 0),))

    assert table_of(failed) == {**TABLE, "valid": False}


def test_hostile_names_are_escaped_and_cut() -> None:
    leaf = replace(LEAF, names=("a\x1b[31m\n", "b" * 2000), others=("URI:\u202ex",))

    found = table_of(replace(GOOD, chain=(leaf,)))

    assert found["names"] == (
        "URI:\\u202ex",
        "a\\x1b[31m\\n",
        "b" * 499 + "…",
    )


def test_of_many_names_it_is_said_how_many_are_left_out() -> None:
    leaf = replace(LEAF, names=tuple(f"{at:05}.example" for at in range(MAX_NAMES + 5)))

    found = table_of(replace(GOOD, chain=(leaf,)))

    assert found["names_left_out"] == 5
    assert isinstance(found["names"], tuple)
    assert len(found["names"]) == MAX_NAMES
    assert list(compare(TABLE, found))[-1].what == "names_left_out"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            {"issuers": ("CN=Other",)},
            Difference(
                "issuers", ("CN=R1,O=Authority", "CN=Root"), ("CN=Other",), "drift"
            ),
        ),
        (
            {"names": ("b.example", "c.example")},
            Difference("names", ("a.example",), ("c.example",), "drift"),
        ),
        (
            {"key": "RSA 2048"},
            Difference("key", ("EC secp256r1",), ("RSA 2048",), "drift"),
        ),
        (
            {"protocol": "TLSv1.2"},
            Difference("protocol", ("TLSv1.3",), ("TLSv1.2",), "drift"),
        ),
        (
            {"protocol": "TLSv1.4"},
            Difference("protocol", ("TLSv1.3",), ("TLSv1.4",), "note"),
        ),
        (
            {"cipher": "TLS_CHACHA20_POLY1305_SHA256"},
            Difference(
                "cipher",
                ("TLS_AES_256_GCM_SHA384",),
                ("TLS_CHACHA20_POLY1305_SHA256",),
                "note",
            ),
        ),
        ({"alpn": ""}, Difference("alpn", ("h2",), (), "note")),
        (
            {"valid": False},
            Difference("invalid", ("valid",), ("not valid",), "drift"),
        ),
    ],
)
def test_what_changed_is_told(
    change: Mapping[str, Value], difference: Difference
) -> None:
    assert list(compare(TABLE, {**TABLE, **change})) == [difference]


def test_what_gets_better_is_a_note() -> None:
    old = {**TABLE, "valid": False, "protocol": "TLSv1.1"}

    assert [(one.what, one.counts) for one in compare(old, TABLE)] == [
        ("invalid", "note"),
        ("protocol", "note"),
    ]


def test_what_the_baseline_does_not_have_is_not_compared() -> None:
    assert list(compare({"issuers": TABLE["issuers"]}, TABLE)) == []


@pytest.mark.parametrize("odd", [7, True, "text", ("a", "b"), ()])
def test_a_baseline_of_odd_types_is_compared_all_the_same(odd: Value) -> None:
    for name in TABLE:
        list(compare({**TABLE, name: odd}, TABLE))
