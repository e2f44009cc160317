"""What servers have, compared with what a baseline keeps of it."""

from pathlib import Path

import pytest

from egressmon.drift.comparing import compare
from egressmon.drift.findings import Change
from egressmon.drift.handshakes import (
    Shaken,
    known_names,
    tables_of,
    tls_changes,
    tls_problems,
)
from egressmon.drift.model import Baseline, Content, Item, Key, Seen, Surface, TlsValue
from egressmon.drift.toml_form import digest_of, text_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.policy.language.drift import Drift
from egressmon.tls.findings import Finding

PLACE = "api.example:443"
TABLE: dict[str, TlsValue] = {
    "alpn": "h2",
    "cipher": "TLS_AES_256_GCM_SHA384",
    "issuers": ("CN=R1", "CN=Root"),
    "key": "EC secp256r1",
    "names": ("api.example",),
    "protocol": "TLSv1.3",
    "valid": True,
}
OLD = Content(tls={PLACE: TABLE})


def shaken(*findings: Finding, **changed: TlsValue) -> Shaken:
    return Shaken(PLACE, {**TABLE, **changed}, "", findings)


def changes(*found: Shaken, old: Content = OLD) -> list[Change]:
    return list(tls_changes(old, found))


def test_a_host_that_is_as_it_was_is_no_change() -> None:
    assert changes(shaken()) == []


def test_another_issuer_is_told_with_both() -> None:
    assert changes(shaken(issuers=("CN=Spy",))) == [
        Change("changed", "tls", f"{PLACE} issuers", ("CN=R1", "CN=Root"), ("CN=Spy",))
    ]


def test_another_cipher_is_a_note() -> None:
    (one,) = changes(shaken(cipher="TLS_CHACHA20_POLY1305_SHA256"))

    assert one.counts == "note"


def test_a_failed_validation_is_told_once_with_its_reason() -> None:
    expired = Finding("invalid", "the certificate: expired")

    assert changes(shaken(expired, valid=False)) == [
        Change("changed", "tls", f"{PLACE} invalid", remark="the certificate: expired")
    ]


def test_a_failed_validation_that_was_reviewed_is_a_note() -> None:
    private = Finding("invalid", "the certificate: self-signed, and not trusted")
    old = Content(tls={PLACE: {**TABLE, "valid": False}})

    (one,) = changes(shaken(private, valid=False), old=old)

    assert one.counts == "note"


def test_an_end_that_is_near_is_drift() -> None:
    (one,) = changes(shaken(Finding("expiring", "the certificate ends in 3 days")))

    assert (one.what, one.counts) == (f"{PLACE} expiring", "drift")


def test_a_host_that_the_baseline_does_not_have_is_new() -> None:
    (one,) = changes(shaken(), old=Content())

    assert (one.word, one.what, one.new) == ("new", PLACE, ("CN=R1", "CN=Root"))


def test_a_host_that_was_not_asked_is_gone() -> None:
    (one,) = changes()

    assert (one.word, one.what) == ("gone", PLACE)


def test_a_host_of_which_nothing_is_known_is_a_problem_and_no_change() -> None:
    unknown = Shaken(PLACE, None, "Connection refused", ())

    assert changes(unknown) == []
    assert list(tls_problems([unknown])) == [
        f"{PLACE}: no handshake: Connection refused"
    ]
    assert tables_of([unknown]) == {}


def baseline(content: Content) -> Baseline:
    return Baseline(content, digest_of(content), ())


@pytest.mark.parametrize(
    ("counts", "drifts", "told"), [("drift", 1, 1), ("note", 0, 1), ("ignore", 0, 0)]
)
def test_the_policy_says_how_much_it_counts(
    counts: str, drifts: int, told: int
) -> None:
    settings = Drift.model_validate({"tls": counts, "unreviewed": "ignore"})

    found = compare(
        baseline(OLD), Surface(), settings, None, [shaken(protocol="TLSv1.2")]
    )

    assert (found.drifts, len(found.changes)) == (drifts, told)
    assert not found.problems


def test_without_handshakes_nothing_is_said_of_them() -> None:
    settings = Drift(unreviewed="ignore")

    assert compare(baseline(OLD), Surface(), settings, None).changes == ()


def test_an_unknown_host_makes_it_not_comparable_and_hides_nothing() -> None:
    unknown = Shaken("b.example:443", None, "Connection refused", ())
    old = Content(
        items={Key("lookup", "gone.example", "", -1, "dns"): {}}, tls={PLACE: TABLE}
    )
    surface = Surface(items={Key("lookup", "a.example", "", -1, "dns"): _item()})

    found = compare(baseline(old), surface, Drift(), None, [shaken(), unknown])

    assert found.status == 2
    assert ("gone", "look-up of gone.example") in [
        (one.word, one.what) for one in found.changes
    ]


def _item() -> Item:
    return Item(Seen(0, 0))


def test_the_tables_survive_the_file(tmp_path: Path) -> None:
    text = text_of(OLD, ())
    (tmp_path / "baseline.toml").write_text(text)

    assert read_baseline(str(tmp_path / "baseline.toml")).content.tls == {PLACE: TABLE}
    assert f'[tls."{PLACE}"]' in text


def test_a_wildcard_may_stand_for_names_of_destinations_and_tables() -> None:
    content = Content(
        items={
            Key("destination", "a.example", "", 443, "tcp"): {},
            Key("destination", "", "198.51.100.0/24", 443, "tcp"): {},
            Key("lookup", "b.example", "", -1, "dns"): {},
        },
        tls={PLACE: TABLE, "edited by hand": {}},
    )

    assert list(known_names(content)) == ["a.example", "api.example"]
