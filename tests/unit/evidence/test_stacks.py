"""A stack is written once, before the first record that refers to it."""

import json
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.clock import Clock
from egressmon.evidence import gate
from egressmon.evidence.records import Record
from egressmon.evidence.records.code import CodeRecord, FrameRecord, StackReference
from egressmon.evidence.records.traffic import ConnectionRecord, Peer
from egressmon.evidence.stacks import Stacks
from egressmon.evidence.writer import Evidence, open_evidence
from support.watching import check_digest, frames_of, read_evidence

TEXT = st.none() | st.text(st.characters(), max_size=300)
FRAMES = st.lists(
    st.builds(FrameRecord, TEXT, TEXT, st.none() | st.integers(0, 2**31 - 1)),
    max_size=30,
)


def connection(stack: StackReference | None) -> ConnectionRecord:
    code = CodeRecord("python", "f", "a.py", 1, None, None, None, None, stack, None,
                      None, None, None)  # fmt: skip
    return ConnectionRecord(
        op="connect",
        protocol="tcp",
        family="inet",
        socket="scope",
        dst=Peer("192.0.2.1", 9, []),
        process=None,
        process_reason="a test",
        verdict="local",
        action="observed",
        rule=None,
        reason="a test",
        module=None,
        module_reason="a test",
        route="unknown",
        route_reason="a test",
        bypass=None,
        code=code,
        code_status="known",
        code_reason=None,
    )


def written(path: Path, *records: Record) -> list[dict[str, object]]:
    """Return what is written for these records, with stacks in place of references."""
    file = open_evidence(str(path))
    evidence = Evidence(file, "run-1", Clock(), None, path=str(path))
    for record in records:
        evidence.write(record, 1)
    assert evidence.examine() == "whole"
    evidence.close()
    return read_evidence(path)


@given(FRAMES)
def test_a_digest_is_that_of_what_is_written(frames: list[FrameRecord]) -> None:
    record = Stacks().refer(frames).record

    check_digest(json.loads(gate.admit(record)[0]))
    assert len(record.frames) == len(frames)


def test_the_same_frames_give_the_same_reference_and_others_another() -> None:
    stacks = Stacks()
    one, other = FrameRecord("f", "a.py", 1), FrameRecord("f", "a.py", 2)

    assert stacks.refer([one, other]).digest == stacks.refer([one, other]).digest
    again = [FrameRecord("f", "a.py", 1), FrameRecord("f", "a.py", 2)]
    assert stacks.refer(again).digest == stacks.refer([one, other]).digest
    assert stacks.refer([other, one]).digest != stacks.refer([one, other]).digest
    assert len(stacks.refer([one]).digest) == 32


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    frames = [FrameRecord(f"{n}" * 500, f"/{n}" * 500, n) for n in range(1000)]

    record = Stacks().refer(frames).record

    assert 0 < len(record.frames) < 1000
    assert len(record.frames) + record.left_out == 1000
    first = frames_of(
        {"names": record.names, "frames": [list(row) for row in record.frames]}
    )[0]
    assert first["function"] == "0" * 255 + "…"
    assert first["file"] == "…" + ("/0" * 500)[-255:]


def test_a_stack_is_written_once_before_the_first_reference(tmp_path: Path) -> None:
    stack = Stacks().refer([FrameRecord("f", "a.py", 1)] * 1000)

    records = written(tmp_path / "e.jsonl", *[connection(stack)] * 3, connection(None))

    assert [one["type"] for one in records] == ["stack", *["connection"] * 4]
    code = cast("dict[str, list[object]]", records[3]["code"])
    assert code["stack"] == [{"function": "f", "file": "a.py", "line": 1}] * 1000


def test_a_stack_that_is_forgotten_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egressmon.evidence.remembered._MAX", 2)
    stacks = Stacks()
    made = [stacks.refer([FrameRecord("f", "a.py", n)]) for n in range(3)]
    order = [made[0], made[1], made[0], made[2], made[0], made[1]]

    records = written(tmp_path / "e.jsonl", *map(connection, order))

    digests = [one["digest"] for one in records if one["type"] == "stack"]
    assert digests == [made[0].digest, made[1].digest, made[2].digest, made[1].digest]


def test_a_connection_costs_little_after_the_first(tmp_path: Path) -> None:
    frames = [FrameRecord("\x9b" * 500, "n" * 500 + str(n), n) for n in range(1000)]
    stacks = Stacks()

    written(
        tmp_path / "e.jsonl", *(connection(stacks.refer(frames)) for _ in range(40))
    )

    sizes = [len(one) for one in (tmp_path / "e.jsonl").read_bytes().splitlines()]
    assert max(sizes) <= gate.MAX_RECORD
    assert sum(sizes[1:]) < 40 * 2000
