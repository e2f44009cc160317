"""A summary that says more than the records below it is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.locking import write_lock
from egressmon.verifying.records.shapes import ENVELOPE
from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.place import verify
from support.forging import Json, forge

_HOLDS: list[Json] = [
    {"name": "phases", "result": "holds", "figures": "", "details": []}
]


@pytest.fixture
def proof(original: Path, tmp_path: Path) -> Path:
    """Return a proof whose runs have no violation but that of a probe."""
    shutil.copytree(original, tmp_path / "proof")
    for run in ("run-01", "run-02"):
        forge(tmp_path / "proof" / run / "evidence.jsonl", _as_probe)
    return tmp_path / "proof"


def _as_probe(records: list[Json]) -> None:
    at = next(
        place
        for place, one in enumerate(records)
        if one.get("verdict") == "violation" and one["type"] == "connection"
    )
    records[at]["phase"] = "probe"
    own = {name: records[at][name] for name in ENVELOPE}
    mark = own | {"type": "phase", "name": "probe", "event": "begin"}
    mark |= {"outcome": None, "reason": None}
    records.insert(at + 1, mark | {"event": "end", "outcome": "completed"})
    records.insert(at, mark)


def summaries(proof: Path, change: Callable[[Json, Json], object]) -> list[str]:
    """Write the summaries that `change` changed, lock them, return what is found."""
    files = {one.path: one for one in verify(str(proof), Wanted()).files}
    heads = {
        str(Path(path).relative_to(proof)): one.head for path, one in files.items()
    }
    first = files[str(proof / "run-01/evidence.jsonl")]
    of_run: Json = {
        "verdict": "PASS", "run": 1, "head": first.head, "records": first.records,
        "criteria": [*_HOLDS],
    }  # fmt: skip
    whole: Json = {
        "verdict": "PASS", "runs": {"wanted": 2, "made": 2}, "heads": heads,
        "criteria": [*_HOLDS], "policy": {"digest": first.policy_digest},
        "plan": {"digest": None},
    }  # fmt: skip
    change(of_run, whole)
    (proof / "run-01" / "summary.json").write_text(json.dumps(of_run))
    (proof / "summary.json").write_text(json.dumps(whole))
    write_lock(str(proof), policy="policy.toml")
    found = verify(str(proof), Wanted()).found
    assert {one.kind for one in found} <= {"criteria"}
    return [one.message for one in found]


def test_a_true_summary_is_no_finding(proof: Path) -> None:
    assert summaries(proof, lambda _, __: None) == []


CLAIMS: list[tuple[Callable[[Json, Json], object], str]] = [
    (lambda run, _: run.update(records=99), "its `records` is 99"),
    (lambda run, _: run.update(head="blake3:0"), "its `head` is blake3:0"),
    (lambda run, _: run.update(criteria=[{"result": "fails"}]), "not each of its"),
    (lambda run, _: run.update(criteria="all"), "not each of its criteria holds"),
    (lambda _, all_: all_.update(heads={}), "its `heads` are not those"),
    (lambda _, all_: all_["runs"].update(wanted=3), "PASS of 3 runs, and there are 2"),
    (
        lambda _, all_: all_["policy"].update(digest="sha256:0"),
        "its policy is sha256:0",
    ),
]


@pytest.mark.parametrize(("change", "said"), CLAIMS)
def test_a_claim_that_is_not_true_is_found(
    proof: Path, change: Callable[[Json, Json], object], said: str
) -> None:
    assert any(said in one for one in summaries(proof, change))


def test_a_violation_of_the_commands_is_no_pass(proof: Path) -> None:
    def not_a_probe(records: list[Json]) -> None:
        records[:] = [one for one in records if one["type"] != "phase"]
        for one in records:
            one["phase"] = None

    forge(proof / "run-02" / "evidence.jsonl", not_a_probe)
    messages = summaries(proof, lambda _, __: None)
    assert len(messages) == 1
    assert messages[0].endswith("run-02/evidence.jsonl: it has 1 violations")
