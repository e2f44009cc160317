"""What the summaries of a proof say is made again from its records."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from egressmon.locking import read_lock, write_lock
from egressmon.proofs.judging.rejudged import claims_of
from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.place import verify
from support.forging import Json, forge

EXAMPLE = Path(__file__).parents[4] / "docs/examples/proof"
TOOLS = read_lock(str(EXAMPLE / "evidence.lock")).tools


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "proof"))


def messages(proof: Path, *, is_locked: bool = True) -> list[str]:
    """Lock `proof` again as whoever forged it does, and return what is found."""
    if is_locked:
        write_lock(str(proof), policy="policy.toml", plan="plan.toml", tools=TOOLS)
    return [
        f"{one.path.removeprefix(str(proof))} {one.message}"
        for one in verify(str(proof), Wanted(judge=claims_of)).found
    ]


def change(path: Path, how: Callable[[Any], object]) -> None:
    found = json.loads(path.read_text())
    how(found)
    path.write_text(json.dumps(found, indent=2) + "\n")


# As somebody does who knows what a summary has of the evidence.
def forge_run(proof: Path, how: Callable[[list[Json]], object]) -> None:
    evidence = proof / "run-01/evidence.jsonl"
    forge(evidence, how)
    lines = evidence.read_bytes().splitlines()
    head = "blake3:" + blake3(lines[-1]).hexdigest()
    of_run = {"head": head, "records": len(lines)}
    change(proof / "run-01/summary.json", lambda one: one.update(of_run))
    heads = {"run-01/evidence.jsonl": head}
    change(proof / "summary.json", lambda one: one["heads"].update(heads))


def forge_plan(proof: Path, old: str, new: str) -> None:
    plan = proof / "plan.toml"
    plan.write_text(plan.read_text().replace(old, new, 1))
    digest = f"sha256:{hashlib.sha256(plan.read_bytes()).hexdigest()}"
    change(proof / "summary.json", lambda one: one["plan"].update(digest=digest))
    page = (proof / "SUMMARY.md").read_text()
    before = page.partition("plan `")[2].partition("`")[0]
    (proof / "SUMMARY.md").write_text(page.replace(before, digest))


def test_a_true_proof_is_no_finding(proof: Path) -> None:
    assert messages(proof, is_locked=False) == []
    assert messages(proof) == []


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


def without_marks(records: list[Json]) -> None:
    records[:] = [
        one for one in records if one["type"] != "phase" or one["name"] != "idle"
    ]


def swapped(records: list[Json]) -> None:
    marks = [one for one in of(records, "phase") if one["event"] == "begin"]
    marks[2]["name"], marks[3]["name"] = marks[3]["name"], marks[2]["name"]


def moved(records: list[Json]) -> None:
    for one in of(records, "connection"):
        if one["phase"] == "turn":
            one["phase"] = "create"


def no_probe(records: list[Json]) -> None:
    for one in of(records, "connection"):
        if one["phase"] == "probe":
            one["dst"]["ip"] = "198.51.100.2"


FORGED_RUNS = [
    (without_marks, "`phases` is holds"),
    (swapped, "`phases` is holds"),
    (moved, "at least 1 and at most 1` is holds"),
    (no_probe, "`probes` is holds"),
]


@pytest.mark.parametrize(("how", "said"), FORGED_RUNS)
def test_records_that_do_not_lead_to_the_summary(
    proof: Path, how: Callable[[list[Json]], object], said: str
) -> None:
    forge_run(proof, how)
    found = messages(proof)
    for path in ("/summary.json", "/run-01/summary.json"):
        assert any(one.startswith(path) and said in one for one in found), found
    assert any('`verdict` is "PASS"' in one for one in found)
    assert any(one.startswith("/SUMMARY.md is not the page") for one in found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("at_least = 1,", "at_least = 0,", "expected: turn"),
        ("at_most = 1 }", "at_most = 0 }", "its plan cannot be judged by"),
        ("[[probe]]", '[[phase]]\nname = "more"\nidle = "1s"\n\n[[probe]]', "phases"),
        ("runs = 3", "runs = 3 x", "its plan cannot be judged by"),
    ],
)
def test_a_plan_that_asks_for_something_else(
    proof: Path, old: str, new: str, said: str
) -> None:
    forge_plan(proof, old, new)
    assert any(said in one for one in messages(proof))


CLAIMS: list[tuple[Callable[[Any], object], str]] = [
    (lambda one: one.update(criteria=[]), "is not there; judged again it holds"),
    (lambda one: one["criteria"][5].update(result="fails"), "is fails; judged again"),
    (lambda one: one["criteria"][5].update(figures="no"), "its `criteria` is"),
    (lambda one: one.update(verdict="FAIL"), 'its `verdict` is "FAIL"'),
    (lambda one: one.update(verdict="pass "), 'its `verdict` is "pass "'),
    (lambda one: one.update(verdict={}), "its `verdict` is {}"),
    (lambda one: one.update(destinations={"a": [1, 1]}), "its `destinations` is"),
    (lambda one: one["plan"].update(set=["runs=1"]), "`runs` is holds"),
    (lambda one: one.update(runs=5), "its `runs` is 5"),
    (lambda one: one.update(more=1), "is not in the one form"),
    (lambda one: one.update(began="# PASS"), "its `began` is"),
    (lambda one: one["plan"].update(set=["phase.no.idle=1s"]), "its plan cannot be"),
]


@pytest.mark.parametrize(("how", "said"), CLAIMS)
def test_a_summary_that_says_something_else(
    proof: Path, how: Callable[[Any], object], said: str
) -> None:
    change(proof / "summary.json", how)
    found = messages(proof)
    assert any(one.startswith("/summary.json") and said in one for one in found) or (
        any(one.startswith(f" {said}") for one in found)
    ), found


def test_phases_that_did_not_run_are_told_of_by_no_summary(proof: Path) -> None:
    change(proof / "run-01/summary.json", lambda one: one["phases"].pop())
    assert messages(proof) == [
        "/run-01/summary.json its `phases` are not those of the evidence"
    ]


def test_a_mark_that_there_was_no_room_for_is_no_forgery(proof: Path) -> None:
    def cut(records: list[Json]) -> None:
        without_marks(records)
        records[-1]["losses"]["left_out"] = 2

    forge_run(proof, cut)

    assert not any("its `phases` are not" in one for one in messages(proof))


@pytest.mark.parametrize("text", ["# PASS\n", "#  PASS\n\nAll is fine.\n", ""])
def test_another_page_is_found(proof: Path, text: str) -> None:
    (proof / "SUMMARY.md").write_text(text)
    (found,) = messages(proof)
    assert found.startswith("/SUMMARY.md is not the page that egressmon makes")


@pytest.mark.parametrize(
    "name",
    ["summary.json", "SUMMARY.md", "plan.toml", "evidence.lock", "run-01/summary.json"],
)
def test_a_part_that_is_not_there_is_found(proof: Path, name: str) -> None:
    write_lock(str(proof), policy="policy.toml")
    (proof / name).unlink()
    found = messages(proof, is_locked=False)
    assert any(f"is no proof without {name}" in one for one in found)


def test_no_proof_is_without_any_summary(proof: Path) -> None:
    for one in proof.rglob("summary.json"):
        one.unlink()
    found = messages(proof)
    assert " is no proof without summary.json" in found


def test_one_run_is_not_two(proof: Path) -> None:
    shutil.rmtree(proof / "run-02")
    shutil.copytree(proof / "run-01", proof / "run-02")
    assert any("is the same run as" in one for one in messages(proof))


def test_a_lock_of_no_plan_and_no_policy_is_found(proof: Path) -> None:
    write_lock(str(proof), tools=TOOLS)
    found = messages(proof, is_locked=False)
    assert [one.partition(" is ")[0] for one in found] == [
        "/evidence.lock its plan",
        "/evidence.lock its policy",
    ]


def test_a_doubt_that_only_its_maker_had_is_taken(proof: Path) -> None:
    first = proof / "run-01/summary.json"

    def doubt(one: Json) -> None:
        one["verdict"], one["reason"] = "INCOMPLETE", "nothing lost: it was killed"
        one["criteria"][0].update(result="unproven", details=["it was killed"])

    change(first, doubt)
    found = messages(proof)
    assert not any(one.startswith("/run-01/summary.json") for one in found)
    assert any('its `verdict` is "PASS"' in one for one in found)


def forged_page(proof: Path) -> None:
    page = proof / "SUMMARY.md"
    page.write_text(page.read_text().replace("# PASS", "# FAIL"))


def forged_summary(proof: Path) -> None:
    change(proof / "summary.json", lambda one: one.update(verdict="FAIL"))


def no_lock(proof: Path) -> None:
    (proof / "evidence.lock").unlink()


def no_page(proof: Path) -> None:
    (proof / "SUMMARY.md").unlink()
    (proof / "evidence.lock").unlink()


@pytest.mark.parametrize("how", [forged_page, forged_summary, no_lock, no_page])
def test_a_proof_below_the_path_is_verified_as_one(
    proof: Path, how: Callable[[Path], None]
) -> None:
    how(proof)
    other = proof.parent / "deep" / "other"
    shutil.copytree(EXAMPLE, other)

    for path in (proof, proof.parent):
        result = verify(str(path), Wanted(judge=claims_of))
        assert result.found
        assert {one.path.startswith(str(proof)) for one in result.found} == {True}
        told = {one.path: one.is_as_made for one in result.proofs}
        assert told[str(proof)] is False
    assert told[str(other)] is True


def test_true_proofs_below_a_path_are_no_finding(proof: Path) -> None:
    shutil.copytree(EXAMPLE, proof.parent / "other")

    result = verify(str(proof.parent), Wanted(judge=claims_of))
    assert (result.found, result.unreadable) == ([], [])
    assert all("another build" in one for one in result.notes)
    assert [one.verdict for one in result.proofs] == ["PASS", "PASS"]
    assert len(result.files) == 2 * len(list(EXAMPLE.glob("run-*")))


def test_proofs_in_proofs_are_not_looked_into_for_ever(proof: Path) -> None:
    at = proof
    for _ in range(12):
        at /= "deep"
        at.mkdir()
        (at / "evidence.lock").touch()

    result = verify(str(proof), Wanted(judge=claims_of))
    assert "deep inside each other" in str(result.unreadable[-1])


def of_whole(proof: Path, **fields: object) -> list[str]:
    change(proof / "summary.json", lambda one: one.update(fields))
    return messages(proof)


def test_another_version_than_that_of_the_runs_is_found(proof: Path) -> None:
    found = of_whole(proof, egressmon="9.9.9")
    assert any(
        "is by egressmon 0.1.0, and summary.json by 9.9.9" in one for one in found
    )
    assert any("its tools are egressmon 0.1.0" in one for one in found)


@pytest.mark.parametrize("tools", [{}, {"egressmon 7.7.7": "sha256:" + "0" * 64}])
def test_a_lock_of_other_tools_is_found(proof: Path, tools: dict[str, str]) -> None:
    write_lock(str(proof), policy="policy.toml", plan="plan.toml", tools=tools)
    found = messages(proof, is_locked=False)
    assert any("its tools are" in one for one in found)


def test_another_build_of_the_same_version_is_told_of(proof: Path) -> None:
    tools = dict.fromkeys(TOOLS, "sha256:" + "0" * 64)
    write_lock(str(proof), policy="policy.toml", plan="plan.toml", tools=tools)
    result = verify(str(proof), Wanted(judge=claims_of))
    assert any("another build" in one for one in result.notes)


@pytest.mark.parametrize("began", ["9999-99-99T99:99:99Z", "2026-02-30T00:00:00Z"])
def test_a_time_that_cannot_be_is_found(proof: Path, began: str) -> None:
    assert any("its `began`" in one for one in of_whole(proof, began=began))


@pytest.mark.parametrize("seconds", [-1.0, 1e308, -1e308])
def test_a_duration_that_cannot_be_is_found(proof: Path, seconds: float) -> None:
    assert any("its `seconds`" in one for one in of_whole(proof, seconds=seconds))


def test_a_process_that_the_plan_has_not_is_found(proof: Path) -> None:
    somebody = {"name": "somebody", "status": 0}
    path = proof / "run-01/summary.json"
    change(path, lambda one: one["processes"].append(somebody))
    assert any("has somebody, which the plan has not" in one for one in messages(proof))


def test_a_copy_of_a_run_under_another_name_is_found(proof: Path) -> None:
    for name in ("evidence.jsonl", "summary.json"):
        shutil.copy(proof / "run-01" / name, proof / "run-02" / name)
    forge(proof / "run-02/evidence.jsonl", renamed)
    assert any("is the same run as" in one for one in messages(proof))


def renamed(records: list[Json]) -> None:
    for one in records:
        one["run"] = "20261127T212802Z-aaaaaaaa"


def test_a_run_that_was_learned_from_is_no_proof(proof: Path) -> None:
    forge(proof / "run-01/evidence.jsonl", learned)
    assert any("as `egressmon learn` does" in one for one in messages(proof))


def learned(records: list[Json]) -> None:
    records[0].update(policy_kind="learning", policy=None, policy_digest=None)


def test_an_empty_run_is_none_that_passed(proof: Path) -> None:
    (proof / "run-02/evidence.jsonl").write_bytes(b"")

    found = messages(proof)
    assert any("there are 1" in one for one in found)
    assert any("`heads`" in one for one in found)
    result = verify(str(proof), Wanted(judge=claims_of))
    assert result.unreadable == []
    assert any("the run did not begin" in one for one in result.notes)
