"""Hostile texts, and outcomes of runs that made given records."""

from dataclasses import replace

from hypothesis import strategies as st

from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.evidence.tally import Tally
from egressmon.naming.names import Resolver
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.reports.proposing.needs import Needs
from egressmon.reports.proposing.proposal import propose
from egressmon.reports.runs.outcome import Outcome
from support.outcomes import outcome

HOSTILE = st.text(
    st.sampled_from("ab :/.-漢ｗ\u0301\ufe0f☺🙂\u202e\x1b\n\\#[") | st.characters(),
    max_size=200,
) | st.sampled_from(
    [
        ".".join(["a" * 63] * 3 + ["b" * 61]),
        "漢" * 100,
        "e\u0301" * 200,
        "::error::" * 30,
        "##[add-mask]" * 20,
        "section_start:1:x" * 10,
        "\u202e\u2066" * 50,
    ]
)


def ended(*records: ConnectionRecord | DnsRecord) -> Outcome:
    """Return the outcome of a run that made `records`."""
    tally, needs = Tally(), Needs()
    for record in records:
        tally.add(record)
        needs.add(record)
    proposal = propose(needs, LoadedPolicy(DEFAULT, None, None), Resolver(()))
    verdict = "violations" if tally.has_violations else "clean"
    told = outcome(
        tally,
        verdict=verdict,
        connections=dict(tally.connections),
        queries=dict(tally.queries),
        bypasses=tally.bypasses,
    )
    return replace(told, proposal=proposal)
