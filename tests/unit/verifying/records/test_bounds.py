"""What no record can have is found, whoever made its chain right again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.place import verify
from support.forging import Json, forge

LONG = "x" * 5000


def of(records: list[Json], kind: str) -> Json:
    return next(one for one in records if one["type"] == kind)


def put_in(records: list[Json], kind: str, **fields: object) -> None:
    envelope = {name: records[1][name] for name in tuple(records[1])[:7]}
    records.insert(2, {**envelope, "type": kind, **fields})


def phase(records: list[Json], event: str, outcome: object, reason: object) -> None:
    fields = {"event": event, "outcome": outcome, "reason": reason}
    put_in(records, "phase", name="one", **fields)


def loss(records: list[Json], where: str, count: int) -> None:
    put_in(records, "loss", where=where, count=count, consequence="none")


def segment(records: list[Json], number: int, digest: str) -> None:
    put_in(
        records, "segment", number=number, before="run-000001.jsonl",
        before_digest=digest, before_records=1,
    )  # fmt: skip


def escape(records: list[Json]) -> None:
    put_in(
        records, "escape", what="packet-socket", family="packet", path=None,
        listener=None, process=None, process_reason="gone", doubt=False, reason="none",
    )  # fmt: skip


def restart(records: list[Json], **other: object) -> None:
    fields: Json = {
        "before": "one", "before_head": None, "ended": None, "since": None,
        "until": "2026-01-01T00:00:00.000000000Z", "kept_by": "systemd", "waiting": 1,
        "again": 0, "losses": {}, "violations": 0, "doubted": False, "doubt": False,
        "reason": None,
    }  # fmt: skip
    put_in(records, "restart", **fields | other)


FORGERIES: list[tuple[Callable[[list[Json]], object], str]] = [
    (lambda all_: all_[0].update(hooks=[]), "`hooks` is empty"),
    (lambda all_: all_[0].update(blind_spots=[]), "`blind_spots` has no"),
    (lambda all_: all_[0]["blind_spots"][0].update(name="x"), "`blind_spots` has no"),
    (lambda all_: all_[0].update(policy_kind="learning"), "`policy_kind` is learning"),
    (lambda all_: all_[0].update(enforce="maybe"), "`enforce` is maybe"),
    (lambda all_: all_[0].update(host=LONG), "does not say `cut`"),
    (lambda all_: all_[0].update(user=-1), "`user` is negative"),
    (lambda all_: all_[-1].update(losses={}), "`losses` has no"),
    (lambda all_: all_[-1]["losses"].update(other=1), "`losses` has other"),
    (lambda all_: all_[-1]["losses"].update(unread=-5), "`unread` is negative"),
    (lambda all_: all_[-1].update(sent_bytes=-5), "`sent_bytes` is negative"),
    (lambda all_: all_[-1].update(duration_ms=-1), "`duration_ms` is negative"),
    (lambda all_: all_[-1].update(masked={"x": 1}), "`masked` has x"),
    (lambda all_: all_[-1]["queries"].update(fine=1), "`queries` has fine"),
    (lambda all_: of(all_, "canary").update(dst="203.0.114.8"), "reserved addresses"),
    (lambda all_: of(all_, "canary").update(dst="fish"), "which is no address"),
    (lambda all_: of(all_, "connection")["dst"].update(port=65536), "`port` is 65536"),
    (lambda all_: phase(all_, "end", "completed", "why"), "`reason` is there"),
    (lambda all_: phase(all_, "end", "failed", None), "`reason` is missing"),
    (lambda all_: phase(all_, "end", None, None), "`outcome` is None"),
    (lambda all_: phase(all_, "begin", "completed", None), "`outcome` is completed"),
    (lambda all_: loss(all_, "nowhere", 1), "`where` is nowhere"),
    (lambda all_: loss(all_, "lost_flow", 0), "`count` is 0"),
    (lambda all_: segment(all_, 1, f"blake3:{'0' * 64}"), "`number` is 1"),
    (lambda all_: segment(all_, 2, "blake3:0"), "`before_digest` is no digest"),
    (lambda all_: loss(all_, "evidence", 0), "`count` is 0"),
    (lambda all_: all_[-1]["losses"].update(evidence=-1), "`evidence` is negative"),
    (escape, "`doubt` is false"),
    (lambda all_: restart(all_, losses={"lost_flow": 1}), "`doubt` is false"),
    (lambda all_: restart(all_, doubt=True), "`doubt` is not as `reason` has it"),
    (lambda all_: restart(all_, before_head="blake3:0"), "`before_head` is no digest"),
    (lambda all_: restart(all_, since="2027"), "`since` is later than `until`"),
    (lambda all_: restart(all_, kept_by="me"), "`kept_by` is none of its words"),
    (lambda all_: restart(all_, losses={"lost_hope": 1}), "`losses` has lost_hope"),
    (lambda all_: restart(all_, waiting=-1), "`waiting` is negative"),
]


def test_a_restart_as_it_is_written_is_none(evidence: Path) -> None:
    forge(evidence, restart)

    found = verify(str(evidence), Wanted()).found
    assert not any("(restart)" in one.message for one in found), found


@pytest.mark.parametrize(("change", "what"), FORGERIES)
def test_what_no_record_can_have_is_found(
    evidence: Path, change: Callable[[list[Json]], object], what: str
) -> None:
    forge(evidence, change)

    found = verify(str(evidence), Wanted()).found
    assert any(what in one.message for one in found), found


def test_a_text_that_escapes_made_long_is_none(evidence: Path) -> None:
    forge(evidence, lambda all_: all_[0].update(host="\\u0001" * 800))

    assert not any(
        "cut" in one.message for one in verify(str(evidence), Wanted()).found
    )
