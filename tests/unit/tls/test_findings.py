"""What is wrong with a host's record: certificates made by hand, and the time."""

from datetime import timedelta

import pytest

from egressmon.tls.findings import EXPIRES_WITHIN, Finding, findings, notice
from egressmon.tls.handshake import Problem
from egressmon.tls.record import Record
from egressmon.tls.staples import Staple
from egressmon.tls.targets import Target
from egressmon.values import replace
from support.tls_servers import DAY, NOW
from unit.tls.test_comparing import GOOD, LEAF, MIDDLE, ROOT


def found(record: Record, within: int = EXPIRES_WITHIN) -> list[Finding]:
    return list(findings(record, NOW, within))


def test_what_is_fine_has_none() -> None:
    assert found(GOOD) == []


def test_of_what_is_not_known_nothing_is_wrong() -> None:
    assert found(Record(Target("a.example", 443), unknown="no answer")) == []


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(10, 0), "the certificate: expired"),
        (Problem(10, 1), "the issuer CN=R1,O=Authority: expired"),
        (Problem(10, 5), "certificate 5 of the chain: expired"),
        (Problem(9999, 0), "the certificate: OpenSSL's verification error 9999"),
    ],
)
def test_each_problem_of_validation_is_told_with_whose_it_is(
    problem: Problem, text: str
) -> None:
    record = replace(GOOD, path=(), problems=(problem,))

    assert found(record) == [Finding("invalid", text)]


def test_a_missing_issuer_is_told_once() -> None:
    record = replace(GOOD, path=(), problems=(Problem(20, 0), Problem(21, 0)))

    assert len(found(record)) == 1


def test_a_chain_that_nobody_validated_is_not_taken_for_a_good_one() -> None:
    assert [one.kind for one in found(replace(GOOD, path=()))] == ["invalid"]


def test_a_revoked_staple_accuses_and_others_do_not() -> None:
    statuses = ("revoked", "good", "unknown", "try_later", None)
    kinds = [
        [one.kind for one in found(replace(GOOD, staple=Staple(status)))]
        for status in statuses
    ]

    assert kinds == [["revoked"], [], [], [], []]


def test_an_authority_that_expires_soon_is_told_and_the_root_is_not() -> None:
    begins, ends = NOW - 900 * DAY, NOW + 5 * DAY
    middle = replace(MIDDLE, not_before=begins, not_after=ends)
    path = (LEAF, middle, replace(ROOT, not_before=begins, not_after=ends))

    (one,) = found(replace(GOOD, path=path))

    day = (NOW + 5 * DAY).strftime("%Y-%m-%d")
    assert one == Finding(
        "expiring", f"the issuer CN=R1,O=Authority ends in 5 days, on {day}"
    )


def test_0_days_tell_of_no_end() -> None:
    leaf = replace(LEAF, not_after=NOW + timedelta(hours=1))

    assert found(replace(GOOD, path=(leaf, MIDDLE, ROOT)), 0) == []


@pytest.mark.parametrize(
    ("lifetime", "days"), [(398, 14), (90, 14), (47, 14), (30, 10), (6, 2)]
)
def test_short_certificates_are_told_of_late(lifetime: int, days: int) -> None:
    assert notice(lifetime * DAY, 14) == days * DAY


def test_a_weak_key_or_signature_is_told_but_not_the_roots() -> None:
    weak = ("its key has 1024 bits", "its signature is by way of sha1")
    path = (replace(LEAF, weak=weak), MIDDLE, replace(ROOT, weak=weak))

    assert found(replace(GOOD, path=path)) == [
        Finding(
            "weak",
            "the certificate: its key has 1024 bits, its signature is by way of sha1",
        )
    ]


def test_what_could_not_be_read_is_told() -> None:
    chain = (LEAF, replace(MIDDLE, problems=("key not readable: odd",)))

    assert found(replace(GOOD, chain=chain)) == [
        Finding("unreadable", "the issuer CN=R1,O=Authority: key not readable: odd")
    ]


def test_a_handshake_that_broke_off_is_told() -> None:
    assert found(replace(GOOD, path=(), unfinished="alert handshake failure")) == [
        Finding("unfinished", "the handshake broke off: alert handshake failure")
    ]
