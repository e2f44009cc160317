"""Equal look-ups that are violations make few records, and none is lost."""

from dataclasses import replace

from egressmon.evidence.records.traffic import DnsRecord
from egressmon.verdicts.repeats import Repeats

JUNK = DnsRecord(
    protocol="udp",
    resolver="192.0.2.53",
    name=None,
    asked=None,
    kind=None,
    status=None,
    answers=[],
    answer_count=None,
    unread_bytes=64,
    trusted=False,
    process=None,
    process_reason="a test",
    verdict="violation",
    rule=None,
    reason="unreadable message: ShortHeader",
    module=None,
    module_reason="a test",
    route="unknown",
    route_reason="a test",
    bypass=None,
    code=None,
    code_reason="a test",
)


def test_the_first_ones_are_told_in_full_and_all_are_counted() -> None:
    repeats = Repeats()

    told = [one for time_ns in range(100_000) for one in repeats.add(JUNK, time_ns)]
    told += repeats.close()

    assert [record.count for record, _ in told[:8]] == [1] * 8
    assert len(told) < 24
    assert sum(record.count for record, _ in told) == 100_000
    assert sum(record.unread_bytes for record, _ in told) == 6_400_000
    assert told[-1][1] == 99_999


def test_another_reason_for_not_being_readable_makes_no_other_record() -> None:
    repeats = Repeats()
    junk = [replace(JUNK, reason=f"unreadable: {number}") for number in range(1000)]

    told = [one for record in junk for one in repeats.add(record, 1)]

    assert len(told) < 20


def test_what_is_allowed_and_what_differs_is_told_each_time() -> None:
    repeats = Repeats()
    allowed = replace(JUNK, verdict="allowed", name="api.example.org")
    names = [replace(JUNK, name=f"{number}.example.org") for number in range(3000)]

    told = [one for _ in range(50) for one in repeats.add(allowed, 1)]
    told += [one for record in names for one in repeats.add(record, 1)]

    assert len(told) == 3050
    assert list(repeats.close()) == []


def test_what_is_forgotten_is_told_before() -> None:
    repeats = Repeats()
    told = [one for _ in range(12) for one in repeats.add(JUNK, 1)]
    for number in range(2000):
        told += repeats.add(replace(JUNK, name=f"{number}.example.org"), 2)

    assert sum(record.count for record, _ in told if record.name is None) == 12


def test_no_record_counts_look_ups_of_two_phases() -> None:
    repeats = Repeats(lambda time_ns: "early" if time_ns < 500 else "late")

    told = [one for time_ns in range(1000) for one in repeats.add(JUNK, time_ns)]
    told += repeats.close()

    early = sum(record.count for record, time_ns in told if time_ns < 500)
    assert (early, sum(record.count for record, _ in told)) == (500, 1000)
