"""A policy beside what was reached: what is told, and that what is told closes it."""

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.auditing.coverage import Compared, compare
from egressmon.auditing.findings import KINDS, Finding, Kind
from egressmon.auditing.questions import Questions
from egressmon.auditing.telling import as_json, as_text
from egressmon.cli.policy.check import check
from egressmon.cli.requests import CheckRequest
from egressmon.errors import UsageError
from egressmon.evidence.records.traffic import ConnectionRecord
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination, Listener
from egressmon.policy.language.model import Local, Origins, Policy
from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.policy.reading.place import PolicyFile
from egressmon.values import replace
from egressmon.verdicts.unjudged import WHY
from support.events import dns as dns_event
from support.events import flow
from support.forging import Json, forge
from support.recorded import CALLER, POLICY, SCENARIO, look_up, proof, record
from support.reported import connection
from support.segments import record_segments

FITS = """\
version = 1

[[allow]]
host = "api.example.org"

[[allow]]
cidr = "203.0.113.10"
ports = [80]
"""


def loaded(text: str, path: Path = Path("/src/egress.toml")) -> LoadedPolicy:
    return load_policy(PolicyFile(path, text.encode()))


def compared(folder: Path, text: str, events: Sequence[bytes] = SCENARIO) -> Compared:
    """Return how the policy in `text` differs from a run with these `events`."""
    evidence = folder / "evidence.jsonl"
    record(evidence, events)
    return compare(loaded(text), [str(evidence)])


def by_kind(found: Compared) -> dict[Kind, list[Finding]]:
    kinds: dict[Kind, list[Finding]] = {}
    for one in found.findings:
        kinds.setdefault(one.kind, []).append(one)
    return kinds


def closed(text: str, found: Compared) -> str:
    """Return the policy `text` after all that its findings say was done."""
    head, *tables = text.split("[[allow]]")
    for one in found.findings:
        if one.entry is None or one.kind == "anyone":
            continue
        index = int(one.entry.partition("[")[2].rstrip("]"))
        tables[index] = ""
        if one.change == "replace":
            tables[index] = "\n" + "\n".join(one.toml[1:]) + "\n"
    kept = [f"[[allow]]{one}" for one in tables if one]
    added = ["\n".join(one.toml) for one in found.findings if one.change == "add"]
    return "\n".join([head, *kept, *added]).replace("# in [dns]:", "[dns]")


def test_a_policy_that_fits_has_no_finding(tmp_path: Path) -> None:
    found = compared(tmp_path, FITS)

    assert (found.findings, found.doubts) == ([], [])
    assert (found.runs, found.connections, found.look_ups) == (1, 3, 1)
    assert not found.differs


def test_what_no_entry_covers_is_told_with_the_entry_that_would(tmp_path: Path) -> None:
    found = compared(tmp_path, "version = 1\n")

    kinds = by_kind(found)
    assert [one.text for one in kinds["uncovered"]] == [
        "203.0.113.10:80/tcp by client (1x)",
        "api.example.org:443/tcp by client (2x)",
    ]
    assert compared(tmp_path, closed("version = 1\n", found)).findings == []


def test_an_entry_that_nothing_used_is_told_with_its_line(tmp_path: Path) -> None:
    found = compared(tmp_path, f'{FITS}\n[[allow]]\nhost = "old.example.org"\n')

    (one,) = found.findings
    assert (one.kind, one.entry, one.line) == ("unused", "allow[2]", 10)
    assert one.toml == ("[[allow]]", 'host = "old.example.org"')
    assert one.change == "remove"


def test_an_entry_behind_another_that_covers_the_same_is_told(tmp_path: Path) -> None:
    found = compared(tmp_path, f'{FITS}\n[[allow]]\nhost = "*.example.org"\n')

    (one,) = found.findings
    assert (one.kind, one.entry) == ("unused", "allow[2]")
    assert one.text == "*.example.org: earlier entries cover all that it would"


def test_an_entry_whose_name_was_only_looked_up_belongs_to_dns(tmp_path: Path) -> None:
    events = [
        *SCENARIO[:-1],
        *look_up("seen.example.org", "203.0.113.12"),
        SCENARIO[-1],
    ]
    text = f'{FITS}\n[[allow]]\nhost = "seen.example.org"\n'

    found = compared(tmp_path, text, events)

    (one,) = found.findings
    assert (one.kind, one.entry) == ("looked-up", "allow[2]")
    assert one.toml[-1] == 'names = ["seen.example.org"]'
    names = f"{FITS}\n[dns]\n{one.toml[-1]}\n"
    assert compared(tmp_path, names, events).findings == []


@pytest.mark.parametrize(
    ("wide", "text"),
    [
        ('host = "**.example.org"', "only api.example.org was used"),
        ('host = "*.example.org"', "only api.example.org was used"),
        ('host = "api.example.org"\nports = "any"', "only 443 was used"),
        ('host = "api.example.org"\nports = [80, 443]', "only 443 was used"),
        ('host = "api.example.org"\nports = ["400-500"]', "only 443 was used"),
        ('host = "api.example.org"\nprotocol = "any"', "only tcp was used"),
        ('cidr = "203.0.113.8/31"', "only 203.0.113.9 was used"),
    ],
)
def test_an_entry_that_is_wider_than_what_was_used_is_told(
    wide: str, text: str, tmp_path: Path
) -> None:
    rest = FITS.partition('host = "api.example.org"\n')[2]
    name = '[dns]\nnames = ["api.example.org"]\n' if wide.startswith("cidr") else ""
    policy = f'version = 1\n{name}\n[[allow]]\n{wide}\nreason = "a \\"b\\"\\n"\n{rest}'

    found = compared(tmp_path, policy)

    one = found.findings[0]
    assert [each.kind for each in found.findings] == ["wide"]
    assert text in one.text
    assert one.toml[-1] == 'reason = "a \\"b\\"\\u000a"'
    again = closed(policy, found)
    assert compared(tmp_path, again).findings == []
    kept = loaded(again).policy
    assert isinstance(kept, Policy)
    assert kept.allow[0].reason == 'a "b"\n'


def test_a_wildcard_that_two_names_used_is_not_told(tmp_path: Path) -> None:
    events = [
        *SCENARIO[:-1],
        *look_up("b.example.org", "203.0.113.12"),
        flow("203.0.113.12", 443),
        SCENARIO[-1],
    ]
    policy = FITS.replace("api.example.org", "*.example.org")

    assert compared(tmp_path, policy, events).findings == []


def test_a_name_that_was_only_looked_up_keeps_a_wildcard(tmp_path: Path) -> None:
    events = [*SCENARIO[:-1], *look_up("b.example.org", "203.0.113.12"), SCENARIO[-1]]
    policy = FITS.replace("api.example.org", "*.example.org")

    assert compared(tmp_path, policy, events).findings == []


def test_what_is_denied_is_told_and_no_table_closes_it(tmp_path: Path) -> None:
    found = compared(tmp_path, f'{FITS}\n[[deny]]\nhost = "api.example.org"\n')

    kinds = by_kind(found)
    assert [one.text for one in kinds["refused"]] == [
        (
            "api.example.org:443/tcp by client (2x): denied: api.example.org matches "
            "api.example.org"
        ),
        "look-up of api.example.org by client (1x): a deny entry covers it",
    ]
    assert {one.change for one in kinds["refused"]} == {"decide"}
    assert [one.entry for one in kinds["unused"]] == ["allow[0]"]


def test_what_only_another_may_use_is_told(tmp_path: Path) -> None:
    policy = FITS.replace(
        "ports = [80]", 'ports = [80]\nby = { package = ["curl"], claimed = true }'
    )

    found = compared(tmp_path, policy)

    kinds = by_kind(found)
    (one,) = kinds["refused"]
    assert one.text == (
        "203.0.113.10:80/tcp by client (1x): allow[1] covers it, but only by package "
        "curl, and this is unknown"
    )
    assert "unused" not in kinds  # without it, the next finding would be a wider one


def test_what_only_another_way_may_use_leaves_the_entries_as_they_are(
    tmp_path: Path,
) -> None:
    wide = FITS.replace("ports = [80]", "ports = [80, 81]")
    policy = wide.replace("version = 1", 'version = 1\nbypass = "violation"')

    found = compared(tmp_path, policy)

    assert {one.kind for one in found.findings} == {"refused"}


def test_names_and_resolvers_that_dns_lacks_are_told(tmp_path: Path) -> None:
    events = [*SCENARIO[:-1], *look_up("b.example.org", "203.0.113.12"), SCENARIO[-1]]
    policy = f'{FITS}\n[dns]\nnames = ["unused.example.org"]\n'

    found = compared(tmp_path, policy, events)

    kinds = by_kind(found)
    (one,) = kinds["look-ups"]
    assert one.details == ("b.example.org by client (1x)",)
    assert one.toml[1:] == ('names = ["unused.example.org", "b.example.org"]',)
    assert [each.entry for each in kinds["unused"]] == ["dns.names[0]"]


def test_what_trusts_another_resolver_trusts_those_that_were_asked(
    tmp_path: Path,
) -> None:
    question = dns.message.make_query("api.example.org", "A", id=9).to_wire()
    other = dns_event("192.0.2.99", question, tgid=CALLER, tid=CALLER)

    found = compared(tmp_path, FITS, [*SCENARIO[:-1], other, SCENARIO[-1]])

    (one,) = by_kind(found)["look-ups"]
    assert one.toml[-1] == 'resolvers = ["192.0.2.53", "192.0.2.99"]'


def test_no_entry_is_proposed_for_a_port_that_none_may_name(tmp_path: Path) -> None:
    events = [*SCENARIO[:-1], flow("203.0.113.99", 0), SCENARIO[-1]]

    found = compared(tmp_path, FITS, events)

    assert {one.kind for one in found.findings} == {"refused"}


def test_a_resolver_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    found = compared(tmp_path, f'{FITS}\n[dns]\nresolvers = ["192.0.2.54"]\n')

    (one,) = by_kind(found)["look-ups"]
    assert one.details == ("192.0.2.53 was asked, and is not trusted",)
    assert one.toml[-1] == 'resolvers = ["192.0.2.54", "192.0.2.53"]'


def test_peers_are_compared_with_accept(tmp_path: Path) -> None:
    events = [*SCENARIO[:-1], flow("203.0.113.77", 5000, "KIND_ACCEPT"), SCENARIO[-1]]

    found = compared(tmp_path, FITS, events)
    used = compared(tmp_path, f'{FITS}\n[accept]\nfrom = ["203.0.113.77"]\n', events)
    unused = compared(tmp_path, f'{FITS}\n[accept]\nfrom = ["203.0.113.77"]\n')

    (one,) = found.findings
    assert one.toml[-1] == 'from = ["203.0.113.77"]'
    assert used.findings == []
    assert [each.entry for each in unused.findings] == ["accept.from[0]"]


def test_the_probes_of_a_proof_are_left_out() -> None:
    example = Path(__file__).parents[3] / "docs/examples/proof"

    found = compare(loaded("version = 1\n"), [str(example)])

    assert (found.findings, found.doubts) == ([], [])
    assert (found.runs, found.probes) == (2, 4)


def test_segments_and_proofs_are_compared(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    record_segments(tmp_path / "segments")
    folder = proof(tmp_path / "proof")

    found = compare(loaded(FITS), [str(tmp_path / "segments"), str(folder)])

    assert (found.runs, found.doubts, found.findings) == (3, [], [])


def test_a_run_that_reached_nothing_is_not_comparable(tmp_path: Path) -> None:
    found = compared(tmp_path, FITS, [])

    assert found.doubts == ["nothing was reached, and no name was looked up"]


def test_names_that_are_masked_are_not_compared(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence.jsonl"
    record(evidence)
    text = evidence.read_text().replace('"name":"api.example', '"name":"***12.example')
    evidence.write_text(text)

    found = compare(loaded(FITS), [str(evidence)])

    assert "names that are masked or cut" in found.doubts[0]


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence.jsonl"
    record(evidence)
    evidence.write_text(evidence.read_text().replace("203.0.113.10", "nowhere"))

    found = compare(loaded(FITS), [str(evidence)])

    assert "has no address" in found.doubts[0]
    assert by_kind(found)["unused"][0].entry == "allow[1]"


@pytest.mark.parametrize("listener", get_args(Listener))
@pytest.mark.parametrize("listeners", ["scope", "any", "deny"])
def test_who_received_is_read_from_the_verdict(
    listeners: str, listener: Listener
) -> None:
    policy = Policy(version=1, local=Local(listeners=listeners))  # type: ignore[arg-type]
    target = Destination(ipaddress.ip_address("127.0.0.1"), 9, "tcp", listener=listener)
    first = Judge(policy, frozenset()).connection(target)
    seen = replace(
        connection("127.0.0.1", port=9, verdict=first.word, reason=first.reason),
        rule=first.rule,
    )

    answer = Questions(Policy(version=1)).connection(seen)

    strict = Judge(Policy(version=1), frozenset()).connection(target)
    if listeners == "scope":  # the others' evidence does not say who received
        assert answer.verdict == strict
    else:
        assert answer.verdict.word == "violation"


def test_no_name_makes_a_connection_one_to_a_listener() -> None:
    name = "nothing listens there"
    policy = Policy(version=1)
    target = Destination(ipaddress.ip_address("198.51.100.1"), 443, "tcp", (name,))
    first = Judge(policy, frozenset()).connection(target)
    seen = connection("198.51.100.1", name, reason=first.reason)

    assert name in first.reason
    assert Questions(policy).connection(seen).verdict.word == "violation"


def test_what_the_machine_itself_reaches_is_judged_as_the_policy_says() -> None:
    judged = Policy(version=1)
    recorded = Policy(version=1, origins=Origins(machine="record"))
    seen = replace(connection("127.0.0.1", port=9), origin="machine")
    outside = "the listener is outside the scope (a relay?), and no allow entry covers"
    seen = replace(
        seen, verdict="recorded", rule="origins.machine", reason=f"{WHY}; {outside} it"
    )

    assert Questions(recorded).connection(seen).verdict.word == "recorded"
    verdict = Questions(judged).connection(seen).verdict
    assert (verdict.word, verdict.reason) == ("violation", f"{outside} it")


def test_an_entry_of_pyproject_is_called_so(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence.jsonl"
    record(evidence)
    text = (
        '[tool.egressmon]\nversion = 1\n\n[[tool.egressmon.allow]]\nhost = "x.test"\n'
    )

    found = compare(loaded(text, Path("/src/pyproject.toml")), [str(evidence)])

    kinds = by_kind(found)
    assert kinds["uncovered"][0].toml[0] == "[[tool.egressmon.allow]]"
    assert kinds["unused"][0].line == 4


def many(evidence: Path, count: int) -> None:
    """Have a run reach `count` destinations."""
    record(evidence)

    def change(records: list[Json]) -> None:
        at = next(n for n, one in enumerate(records) if one["type"] == "connection")
        made = [
            records[at]
            | {"dst": records[at]["dst"] | {"ip": f"10.1.{n >> 8}.{n & 255}"}}
            for n in range(count)
        ]
        for one in made:
            one["dst"] = one["dst"] | {"names": []}
        records[at:at] = made

    forge(evidence, change)


def test_a_thousand_destinations_are_all_told_and_bounded_in_text(
    tmp_path: Path,
) -> None:
    evidence = tmp_path / "evidence.jsonl"
    many(evidence, 2000)
    policy = loaded(FITS)

    found = compare(policy, [str(evidence)])

    assert len(by_kind(found)["uncovered"]) == 2000
    assert len(json.loads(as_json(found, policy))["findings"]) == 2000
    lines = list(as_text(found, policy))
    assert len(lines) < 6000
    assert "1000 more: --format json has them" in lines


ODD = st.text(min_size=1, max_size=30) | st.sampled_from(
    ["\x1b[2J", "::error::x", "##[group]", "a\nb", "[[allow]]", "\u202e", '"""', "\\"]
)


@given(text=ODD)
def test_hostile_texts_stay_within_their_lines(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    evidence = folder / "evidence.jsonl"
    record(evidence)

    def change(records: list[Json]) -> None:
        for one in records:
            for name in ("comm", "exe", "name", "reason", "asked"):
                if isinstance(one.get(name), str):
                    one[name] = text
            if one["type"] == "connection":
                one["protocol"] = text
                for known in one["dst"]["names"]:
                    known["name"] = text

    forge(evidence, change)
    policy = loaded(FITS)

    found = compare(policy, [str(evidence)])

    for line in as_text(found, policy):
        assert line.isprintable()
    printed = as_json(found, policy)
    assert printed.isascii()
    assert printed.isprintable()
    for one in found.findings:
        loaded("version = 1\n" + "\n".join(one.toml).replace("# in", "# of"))


def test_the_statuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence, file = tmp_path / "evidence.jsonl", tmp_path / "egress.toml"
    record(evidence)

    def status(text: str, *, strict: bool = False) -> int:
        file.write_text(text)
        request = CheckRequest(str(file), strict=strict, against=[str(evidence)])
        return check(request)

    assert status(FITS) == 0
    assert (
        "egress.toml: fits; 1 run, 3 connections, 1 look-up" in capsys.readouterr().out
    )
    assert status(POLICY) == 1
    assert status(FITS, strict=True) == 1  # as no reason is given
    lines = evidence.read_bytes().splitlines(keepends=True)
    evidence.write_bytes(b"".join(lines[:-1]))
    capsys.readouterr()
    assert status(FITS) == 2
    assert capsys.readouterr().out.startswith("not comparable: ")


def test_a_form_without_evidence_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "egress.toml"
    file.write_text(FITS)

    with pytest.raises(UsageError, match="no use alone"):
        check(CheckRequest(str(file), form="json"))


def test_every_kind_is_explained() -> None:
    assert list(KINDS) == list(get_args(Kind))
    assert ConnectionRecord.TYPE == "connection"
