"""What was written is read back as the stages of a run had it."""

from collections import Counter
from pathlib import Path

import pytest

from egressmon.auditing.doubts import Doubts
from egressmon.auditing.evidence import told_in
from egressmon.evidence.records.running import RunEnd
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.evidence.rendering import render
from support.recorded import record

PROOF = Path(__file__).parents[3] / "docs/examples/proof/run-01/evidence.jsonl"
REFERRED = {"stack", "actor", "module", "step"}


def bodies(path: Path) -> list[bytes]:
    """Return what each line has behind its envelope, values left out."""
    lines = path.read_bytes().splitlines()
    kinds = [line.partition(b'"type":"')[2].partition(b'"')[0] for line in lines]
    rests = [line.partition(b',"prev":')[2].partition(b",")[2] for line in lines]
    return [
        rest
        for kind, rest in zip(kinds, rests, strict=True)
        if kind.decode() not in REFERRED
    ]


@pytest.mark.parametrize("path", [PROOF, None])
def test_each_record_is_written_again_as_it_was(
    path: Path | None, tmp_path: Path
) -> None:
    if path is None:
        path = tmp_path / "evidence.jsonl"
        record(path)
    doubts = Doubts()

    told = list(told_in((str(path),), doubts))

    assert doubts.told == []
    assert [render(one.record).body[1:] for one in told] == bodies(path)
    kinds = Counter(type(one.record) for one in told)
    assert kinds[ConnectionRecord] >= 3
    assert kinds[RunEnd] == 1


def test_what_is_referred_to_is_in_its_place() -> None:
    told = [one.record for one in told_in((str(PROOF),), Doubts())]

    made = [one for one in told if isinstance(one, ConnectionRecord)]
    probe = next(one for one in made if one.op == "connect")
    assert probe.process is not None
    assert probe.process.exe == "/usr/bin/python3.11"
    assert probe.module is not None
    assert probe.module.caller.package is not None
    assert probe.code is not None
    assert probe.code.stacks[0].names[0] == "probe"


def test_texts_are_as_they_were_before_they_were_escaped(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    record(path)
    text = path.read_text().replace(
        '"name":"api.example.org"', '"name":"a\\\\\\\\n\\\\n"'
    )
    path.write_text(text)

    told = [one.record for one in told_in((str(path),), Doubts())]

    assert {one.name for one in told if isinstance(one, DnsRecord)} == {"a\\n\n"}
