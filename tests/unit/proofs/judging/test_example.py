"""The proof in the docs is one: locked, whole, and what its records say."""

import json
from pathlib import Path

from egressmon.locking import check
from egressmon.proofs.judging.criteria import RunReport, judge_all, verdict_of
from egressmon.proofs.judging.facts import read_facts
from egressmon.proofs.plans.file import load_plan

PROOF = Path(__file__).parents[4] / "docs/examples/proof"
SUMMARY = json.loads((PROOF / "summary.json").read_text())


def test_it_is_what_was_locked() -> None:
    assert check(str(PROOF)) == []


def test_its_summary_claims_what_its_records_say() -> None:
    plan = load_plan(str(PROOF / "plan.toml"), SUMMARY["plan"]["set"]).plan
    reports: list[RunReport] = []
    for number in range(1, plan.runs + 1):
        with (PROOF / f"run-{number:02d}/evidence.jsonl").open("rb") as file:
            reports.append(RunReport(number, read_facts(file), [], []))

    criteria = judge_all(plan, reports, [])

    assert verdict_of(criteria) == (SUMMARY["verdict"], SUMMARY["reason"])
    claimed = {one["name"]: one["figures"] for one in SUMMARY["criteria"]}
    assert {one.name: one.figures for one in criteria}.items() <= claimed.items()
    assert SUMMARY["verdict"] == "PASS"


def test_it_knows_nothing_of_the_machine_that_made_it() -> None:
    for path in PROOF.rglob("*"):
        text = path.read_text() if path.is_file() else ""
        assert "/work" not in text, path
        assert "/home" not in text, path
        assert "/root" not in text, path
