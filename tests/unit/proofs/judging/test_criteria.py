"""The verdict on a proof: PASS only if every criterion holds."""

import io
import json
from collections import Counter
from typing import Any

import pytest
from blake3 import blake3

from egressmon.proofs.judging import claimed
from egressmon.proofs.judging.agreement import differences
from egressmon.proofs.judging.criteria import (
    Criterion,
    RunReport,
    bounded,
    judge_all,
    judge_run,
    verdict_of,
)
from egressmon.proofs.judging.facts import Facts, Peer, read_facts
from egressmon.proofs.judging.summary import run_summary
from egressmon.proofs.plans.plan import Plan

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
PLAN = Plan.model_validate(
    {
        "version": 1,
        "runs": 2,
        "phase": [
            {
                "name": "turn",
                "idle": "1s",
                "expect": [
                    {"destination": "api.example.org:443", "at_least": 1, "at_most": 2},
                    {"destination": "any", "at_most": 2},
                ],
            }
        ],
        "probe": [{"destination": "192.0.2.1:443"}],
    }
)
MARKS = [
    (name, event, outcome)
    for name in ("start", "probe", "turn", "probe", "stop")
    for event, outcome in (("begin", None), ("end", "completed"))
]
END: dict[str, Any] = {
    "complete": True,
    "incomplete_reasons": [],
    "losses": {},
    "outlived": [],
}


def peer(phase: str = "turn", **changes: Any) -> Peer:
    fields: dict[str, Any] = {
        "phase": phase,
        "op": "connect",
        "names": ("api.example.org",),
        "ip": "203.0.113.1",
        "port": 443,
        "protocol": "tcp",
        "verdict": "allowed",
        "by_launcher": False,
        **changes,
    }
    return Peer(**fields)


PROBE = peer("probe", ip="192.0.2.1", names=(), verdict="violation", by_launcher=True)


def facts(**changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "peers": Counter({peer(): 1, PROBE: 2}),
        "packages": {"python:httpx 1.0"},
        "canaries": [True] * 4,
        "phases": list(MARKS),
        "end": dict(END),
        "records": 9,
        **changes,
    }
    return Facts(**fields)


def verdict(first: Facts, second: Facts | None = None, **how: Any) -> tuple[str, str]:
    reports = [
        RunReport(1, first, how.get("failures", []), how.get("doubts", [])),
        RunReport(2, second if second is not None else facts(), [], []),
    ]
    return verdict_of(judge_all(PLAN, reports, []))


def test_a_proof_in_which_all_holds_is_passed() -> None:
    assert verdict(facts()) == ("PASS", "every criterion holds")


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "a violation": (
        {"peers": Counter({peer(): 1, PROBE: 2, peer(verdict="violation"): 1})},
        "FAIL",
        "no violation: run 1: api.example.org:443/tcp in phase turn",
    ),
    "a look-up in violation": ({"bad_queries": 2}, "FAIL", "2 look-ups"),
    "too few": ({"peers": Counter({PROBE: 2})}, "FAIL", "expected: turn: api"),
    "too many": ({"peers": Counter({peer(): 3, PROBE: 2})}, "FAIL", "expected: turn"),
    "another package": (
        {"packages": {"python:httpx 2.0"}},
        "FAIL",
        "runs agree: packages: python:httpx 1.0: only in run 2",
    ),
    "an unseen canary": (
        {"canaries": [True, False]},
        "INCOMPLETE",
        "canaries: run 1: 1 of 2 canaries seen",
    ),
    "no canary": ({"canaries": []}, "INCOMPLETE", "canaries: run 1: 0 of 0"),
    "a probe seen once": (
        {"peers": Counter({peer(): 1, PROBE: 1})},
        "INCOMPLETE",
        "probes: run 1: 192.0.2.1:443: seen 1 of 2 times",
    ),
    "a probe that was allowed": (
        {"peers": Counter({peer(): 1, PROBE._replace(verdict="allowed"): 2})},
        "INCOMPLETE",
        "probes: run 1: 192.0.2.1:443: allowed, not violation",
    ),
    "a probe that somebody else made": (
        {"peers": Counter({peer(): 1, PROBE._replace(by_launcher=False): 2})},
        "FAIL",
        "no violation: run 1: 192.0.2.1:443/tcp in phase probe",
    ),
    "a probe outside of its phase": (
        {"peers": Counter({peer(): 1, PROBE: 2, PROBE._replace(phase="turn"): 1})},
        "FAIL",
        "no violation: run 1: 192.0.2.1:443/tcp in phase turn",
    ),
    "a lost event": (
        {
            "end": END
            | {"complete": False, "incomplete_reasons": ["3 connections are missing"]}
        },
        "INCOMPLETE",
        "nothing lost: run 1: 3 connections are missing",
    ),
    "incomplete without a reason": (
        {"end": END | {"complete": False}},
        "INCOMPLETE",
        "nothing lost: run 1: the run says that it is incomplete",
    ),
    "no end": ({"end": None}, "INCOMPLETE", "nothing lost: run 1: the evidence has no"),
    "a process that was left": (
        {"end": END | {"outlived": [{"comm": "sleep", "pid": 7}]}},
        "INCOMPLETE",
        "all ended: run 1: sleep (7)",
    ),
    "a missing phase": ({"phases": MARKS[:-2]}, "INCOMPLETE", "phases: run 1: 4 of 5"),
    "a failed phase": (
        {"phases": [*MARKS[:-1], ("stop", "end", "failed")]},
        "INCOMPLETE",
        "phases: run 1: 4 of 5 phases completed; run 2: 5 of 5",
    ),
    "broken evidence": (
        {"broken": "line 3: no JSON"},
        "INCOMPLETE",
        "nothing lost: run 1: the evidence is broken: line 3",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_hold_is_the_reason(name: str) -> None:
    changes, wanted, reason = BROKEN[name]

    found, why = verdict(facts(**changes))

    assert found == wanted, why
    assert reason in why


def test_what_failed_outranks_what_is_unproven() -> None:
    found, _ = verdict(facts(canaries=[]), facts(bad_queries=1))

    assert found == "FAIL"


def test_too_few_runs_prove_nothing() -> None:
    criteria = judge_all(PLAN, [RunReport(1, facts(), [], [])], [])

    assert verdict_of(criteria) == ("INCOMPLETE", "runs: 1 of 2 runs made")


def test_a_doubt_about_the_files_is_a_reason() -> None:
    reports = [RunReport(1, facts(), [], []), RunReport(2, facts(), [], [])]

    criteria = judge_all(PLAN, reports, ["run-01/evidence.jsonl was changed"])

    assert verdict_of(criteria)[0] == "INCOMPLETE"


def test_each_run_has_criteria_of_its_own() -> None:
    names = [one.name for one in judge_run(PLAN, RunReport(1, facts(), [], []))]

    assert len(names) == len(set(names)) == 8


def test_no_runs_at_all_prove_nothing() -> None:
    assert verdict_of(judge_all(PLAN, [], []))[0] == "INCOMPLETE"
    assert verdict_of([Criterion("x", "holds", "")])[0] == "PASS"


def test_what_not_all_have_is_listed() -> None:
    found = {1: {"a", "b"}, 2: {"a"}, 3: {"a", "c"}}

    assert differences(found) == ["b: only in run 1", "c: only in run 3"]


def lines(*records: dict[str, Any]) -> bytes:
    """Return the records as a chain."""
    previous, written = None, b""
    for number, record in enumerate(records):
        whole = {"type": "loss", "seq": number, "phase": None, "prev": previous}
        line = json.dumps({**whole, **record}).encode()
        previous = "blake3:" + blake3(line).hexdigest()
        written += line + b"\n"
    return written


@pytest.mark.parametrize(
    ("data", "broken"),
    [
        (b"", None),
        (lines({}, {}), None),
        (lines({}, {})[:-1], "line 2: it is cut off"),
        (lines({}) + lines({}), "line 2: it does not follow"),
        (lines({}, {"seq": 7}), "line 2: it does not follow"),
        (lines({"type": "run.end"}, {}), "line 2: it comes after the end"),
        (b"null\n", "line 1: "),
        (b"{}\n", "line 1: KeyError"),
        (b"\xff\n", "line 1: "),
        (lines({"type": "connection", "dst": 5}), "line 1: "),
        (b"x" * 100_000 + b"\n", "line 1: it is cut off, or longer"),
    ],
)
def test_evidence_that_is_none_is_said_to_be_broken(
    data: bytes, broken: str | None
) -> None:
    found = read_facts(io.BytesIO(data)).broken

    assert found is None if broken is None else broken in str(found)


@pytest.mark.parametrize("seen", [0, 3])
def test_a_run_that_is_cut_short_fails_no_expectation(seen: int) -> None:
    short = facts(
        phases=[*MARKS[:5], ("turn", "end", "failed")],
        peers=Counter({peer(): seen, PROBE: 1}),
        packages=set[str](),
    )

    found, _ = verdict(short, failures=["phase turn: interrupted"])

    assert found == "INCOMPLETE"


def test_why_a_run_did_not_begin_comes_first_and_once() -> None:
    why = "no cgroup v2 hierarchy is mounted (mount it)"
    report = RunReport(1, Facts(), [], [why, why])

    criteria = judge_all(PLAN, [report], [])

    assert verdict_of(criteria) == ("INCOMPLETE", f"nothing lost: run 1: {why}")
    assert criteria[0].details.count(f"run 1: {why}") == 1


MASKED = "***83a42860.example.com"


@pytest.mark.parametrize(
    ("bounds", "result"),
    [
        ({"at_most": 0}, "unproven"),
        ({"at_most": 1}, "holds"),
        ({"at_least": 1}, "unproven"),
        ({"at_least": 2}, "fails"),
    ],
)
@pytest.mark.parametrize(
    ("names", "end"),
    [
        ({"names": (MASKED,)}, {}),
        ({"names": ("a.test",), "names_are_cut": True}, {}),
        ({"names": ("a.example.com"[:5] + "…",)}, {}),
        ({"names": ("a.test",)}, {"losses": {"names_dropped": 1}}),
    ],
    ids=["masked", "more names", "cut", "forgotten"],
)
def test_what_nobody_can_read_any_more_proves_nothing(
    names: dict[str, Any], end: dict[str, Any], bounds: dict[str, int], result: str
) -> None:
    expected = {"destination": "*.example.com:443", **bounds}
    phase = {"name": "turn", "idle": "1s", "expect": [expected]}
    plan = Plan.model_validate({"version": 1, "phase": [phase]})
    marks = [one for one in MARKS if one[0] != "probe"]
    peers = Counter({peer(**names): 1})

    found = judge_run(
        plan, RunReport(1, facts(peers=peers, phases=marks, end=END | end), [], [])
    )

    assert found[-1].result == result
    assert "and 1 by a name that is masked" in found[-1].figures


def test_destinations_whose_names_are_cut_alike_differ() -> None:
    one, other = (peer(names=("a" * 63 + "…",), ip=f"192.0.2.{last}") for last in "12")

    assert one.label != other.label


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("known", [[], ["3 lost"], ["a"] * 1500, [f"token {TOKEN}"]])
def test_the_doubts_of_its_maker_are_read_back(count: int, known: list[str]) -> None:
    doubts = bounded([f"file {number} was changed" for number in range(count)])
    one = Criterion("nothing was changed", "unproven", "", [*doubts, *known])
    run = RunReport(1, facts(), [], [])
    summary = json.loads(run_summary(run, [one], [], {}))

    assert len(doubts) <= 1000
    assert claimed.doubts(summary, one.name, known) == doubts
