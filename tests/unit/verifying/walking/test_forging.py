"""Who makes numbers, digests and chain right again is found by what the records say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.verdicts.unasked import REASON
from egressmon.verifying.findings import Finding
from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.place import verify
from egressmon.verifying.witnesses.anchors import Anchors
from support.forging import Json, forge


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


def violation(records: list[Json]) -> Json:
    made = of(records, "connection")
    return next(one for one in made if one["verdict"] == "violation")


def kinds(evidence: Path, wanted: Wanted | None = None) -> set[str]:
    return {one.kind for one in found(evidence, wanted)}


def found(evidence: Path, wanted: Wanted | None = None) -> list[Finding]:
    result = verify(str(evidence), wanted or Wanted())
    assert result.unreadable == []
    return result.found


def end(records: list[Json]) -> Json:
    return records[-1]


def allow(records: list[Json]) -> None:
    violation(records).update(verdict="allowed", rule="allow[1]", reason="fine")
    end(records).update(
        connections={"allowed": 3}, verdict="clean", exit_status=0
    )  # fmt: skip


def name(records: list[Json]) -> None:
    one = violation(records)
    known = {"name": "api.example.org", "source": "dns", "asked_by": "thread"}
    one["dst"].update(names=[known], port=443)
    why = "api.example.org matches api.example.org: the service itself"
    one.update(verdict="allowed", rule="allow[0]", reason=why)
    end(records).update(connections={"allowed": 3}, verdict="clean", exit_status=0)


def move(records: list[Json]) -> None:
    violation(records)["dst"]["ip"] = "203.0.113.77"


def hide(records: list[Json]) -> None:
    allow(records)
    for one in of(records, "connection"):
        if one["rule"] == "allow[1]":
            one["reason"] = "***"


def cut(records: list[Json]) -> None:
    allow(records)
    for one in of(records, "connection"):
        if one["rule"] == "allow[1]":
            one["cut"] = ["reason"]


def drop(records: list[Json]) -> None:
    records.remove(violation(records))


def trust(records: list[Json]) -> None:
    of(records, "dns")[0]["resolver"] = "198.51.100.1"


def actor(records: list[Json]) -> None:
    of(records, "actor")[0]["exe"] = "/usr/bin/harmless"


def forget(records: list[Json]) -> None:
    records.remove(of(records, "actor")[0])


MASKED = {"name": "***deadbeef.example", "source": "dns", "asked_by": "thread"}


def mask(records: list[Json]) -> None:
    violation(records)["dst"]["names"] = [MASKED]
    allow(records)


def cut_names(records: list[Json]) -> None:
    violation(records)["cut"] = ["dst.names"]
    allow(records)


def no_such_rule(records: list[Json]) -> None:
    one = violation(records)
    mask(records)
    one["rule"] = "allow[7]"


# What is masked or cut may be any name, but no name is allowed at this port.
def at_another_port(records: list[Json]) -> None:
    one = violation(records)
    mask(records)
    one["rule"] = "allow[0]"
    one["dst"].update(port=4444)


def left_out(records: list[Json]) -> None:
    no_such_rule(records)
    last = end(records)
    last["losses"].update(left_out=1)
    last.update(
        verdict="incomplete", complete=False, exit_status=121,
        incomplete_reasons=["left_out 1"],
    )  # fmt: skip


def no_such_rule_of_names(records: list[Json]) -> None:
    one = of(records, "dns")[0]
    one.update(rule="allow[7]", cut=["name"])


def other_pid(records: list[Json]) -> None:
    violation(records)["process"]["pid"] += 1


# A process has sent it.
def by_the_kernel(records: list[Json]) -> None:
    violation(records).update(verdict="local", rule=None, reason=REASON)
    connections = {"allowed": 2, "local": 1}
    end(records).update(connections=connections, verdict="clean", exit_status=0)


def same_canary(records: list[Json]) -> None:
    first, second, *_ = of(records, "canary")
    second.update(first)


def rename(records: list[Json]) -> None:
    for one in records:
        one["run"] = "r, 9 records, says clean; head blake3:00"


FORGERIES: list[tuple[Callable[[list[Json]], object], str]] = [
    (allow, "verdict"),
    (name, "verdict"),
    (hide, "verdict"),
    (cut, "verdict"),
    (move, "verdict"),
    (trust, "verdict"),
    (mask, "verdict"),
    (cut_names, "verdict"),
    (no_such_rule, "verdict"),
    (at_another_port, "verdict"),
    (no_such_rule_of_names, "verdict"),
    (left_out, "verdict"),
    (by_the_kernel, "verdict"),
    (other_pid, "reference"),
    (same_canary, "sequence"),
    (rename, "schema"),
    (lambda records: violation(records).update(phase="idle"), "sequence"),
    (lambda records: violation(records)["dst"].update(port=None), "schema"),
    (lambda records: violation(records).update(family="inet6"), "schema"),
    (lambda records: records[0].update(host="v\0m"), "schema"),
    (lambda records: records[0].update(host="v\nm"), "schema"),
    (drop, "counters"),
    (actor, "reference"),
    (forget, "reference"),
    (lambda records: end(records).update(verdict="clean"), "criteria"),
    (lambda records: end(records).update(exit_status=0), "criteria"),
    (lambda records: end(records)["losses"].update(lost_flow=3), "criteria"),
    (lambda records: end(records).update(evidence="changed"), "criteria"),
    (lambda records: end(records).update(processes=7), "counters"),
    (lambda records: of(records, "canary")[0].update(seen=False), "counters"),
    (lambda records: of(records, "canary")[0].update(reason="no"), "criteria"),
    (lambda records: records[5].update(more=1), "schema"),
    (lambda records: violation(records).update(verdict="fine"), "schema"),
    (lambda records: violation(records).update(local_port="1"), "schema"),
    (lambda records: violation(records)["dst"].pop("names"), "schema"),
    (lambda records: violation(records)["dst"].update(ip="fish"), "verdict"),
    (lambda records: records.append(dict(records[-2])), "sequence"),
    (lambda records: records.insert(3, dict(records[0])), "sequence"),
    (lambda records: records.pop(0), "sequence"),
    (lambda records: records[6].update(run="another"), "sequence"),
    (lambda records: records.pop(), "truncated"),
]


@pytest.mark.parametrize(("change", "kind"), FORGERIES)
def test_a_forgery_is_found(
    evidence: Path, change: Callable[[list[Json]], object], kind: str
) -> None:
    forge(evidence, change)
    assert kind in kinds(evidence)


def test_a_policy_that_allows_more_is_not_that_of_the_run(evidence: Path) -> None:
    policy = evidence.parent / "policy.toml"
    policy.write_text(policy.read_text() + '[[allow]]\ncidr = "0.0.0.0/0"\n')
    result = verify(str(evidence), Wanted())
    (file,) = result.files
    assert file.judged == 0
    assert file.unjudged is not None
    assert "the policy is not here" in file.unjudged


# The chain and the counters are right, and no record is left to contradict them: only
# what left the machine before can tell.
def test_what_was_left_out_whole_is_found_by_an_anchor(evidence: Path) -> None:
    log = evidence.parent / "ci.log"
    lines = evidence.read_bytes().splitlines()
    prev = json.loads(lines[8])["prev"]
    log.write_text(f"12:00 egressmon anchor run=replay seq=7 head={prev}\nmore\n")
    wanted = Wanted(anchors=Anchors(str(log)))
    after = found(evidence, wanted)
    assert [one.message for one in after] == [
        "its last 4 records come after the last anchor"
    ]

    with log.open("a") as file:
        file.write(f"egressmon anchor run=replay seq={'9' * 20} head={prev}\n")
    beyond = found(evidence, Wanted(anchors=Anchors(str(log))))
    assert any("which is not there" in one.message for one in beyond)

    def leave_out(records: list[Json]) -> None:
        drop(records)
        end(records).update(
            connections={"allowed": 2}, origins={"unknown": 2}, verdict="clean",
            guard={"unknown": 2},
            exit_status=0,
            unknown_modules=2, unknown_code=2,
        )  # fmt: skip

    forge(evidence, leave_out)
    assert kinds(evidence) == set()
    assert "record 7 is not the one" in found(evidence, wanted)[0].message


def test_a_key_that_is_there_twice_is_found(evidence: Path) -> None:
    lines = evidence.read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"processes":1', b'"processes":7,"processes":1')
    evidence.write_bytes(b"".join(lines))
    one = found(evidence)[0]
    assert (one.kind, one.line) == ("schema", len(lines))
    assert "is not in the one form" in one.message
