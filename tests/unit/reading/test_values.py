"""What records refer to is put in the place of the reference."""

from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon.clock import Clock
from egressmon.evidence import remembered
from egressmon.evidence.records.code import FrameRecord
from egressmon.evidence.records.traffic import ConnectionRecord
from egressmon.evidence.stacks import Stacks
from egressmon.evidence.writer import Evidence, open_evidence
from egressmon.reading import values as reading
from egressmon.reading.lines import lines_of
from egressmon.reading.values import Json, Values
from egressmon.values import replace
from support.reported import code
from support.reported import connection as connection_record

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["digest", "stack", "code", "process", "type", "x"]), inner
        )
    ),
)


def actor(digest: str, exe: str = "/bin/x") -> Json:
    return {"type": "actor", "seq": 1, "digest": digest, "exe": exe}


def connection(digest: str) -> Json:
    return {"type": "connection", "process": {"tid": 7, "digest": digest}}


def resolved(values: Values, record: Json) -> Json:
    return values.resolve(record, orjson.dumps(record))


def test_a_reference_keeps_what_is_its_own() -> None:
    values = Values()
    resolved(values, actor("a"))

    found = resolved(values, connection("a"))

    assert found["process"] == {"tid": 7, "digest": "a", "exe": "/bin/x"}
    assert values.missing == 0


def test_stacks_are_found_in_the_code() -> None:
    values = Values()
    resolved(values, {"type": "stack", "digest": "s", "frames": [[1, 2, 3]]})

    code = {"stack": {"digest": "s"}, "created_by": None, "started_by": {"digest": "t"}}
    found = resolved(values, {"type": "dns", "code": code})

    assert found["code"]["stack"] == {"digest": "s", "frames": [[1, 2, 3]]}
    assert found["code"]["started_by"] == {"digest": "t"}
    assert values.missing == 1


def test_no_more_is_kept_than_a_writer_remembers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_MAX", 2)
    monkeypatch.setattr(reading, "_MAX_BYTES", 200)
    values = Values()
    for digest in "ab":
        resolved(values, actor(digest))
    resolved(values, connection("a"))
    resolved(values, actor("c"))

    assert "exe" in resolved(values, connection("a"))["process"]
    assert "exe" not in resolved(values, connection("b"))["process"]
    resolved(values, actor("d", "x" * 120))
    assert "exe" not in resolved(values, connection("a"))["process"]
    assert values.missing == 2


@given(st.lists(ANY))
def test_fields_of_any_type_end_nothing(found: list[object]) -> None:
    values = Values()
    for one in found:
        for kind in ("actor", "connection"):
            record: Json = {"type": kind, "digest": one, "process": one, "code": one}
            assert resolved(values, record)["type"] == kind


def made_by(number: int) -> ConnectionRecord:
    frames = [FrameRecord("f" * (number % 7 * 9), "a.py", number)]
    made = replace(code(), stack=Stacks().refer(frames))
    return connection_record("192.0.2.1", made_by=made)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(600, 60_000))
def test_a_reader_keeps_what_a_writer_does_not_write_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    order: list[int],
    limit: int,
) -> None:
    for module in (reading, remembered):
        monkeypatch.setattr(module, "_MAX_BYTES", 1500, raising=False)
    path = tmp_path / "e.jsonl"
    file = open_evidence(str(path))
    evidence = Evidence(file, "run-1", Clock(), None, limit, str(path))

    written = [evidence.write(made_by(one), 1) for one in order]
    evidence.close()

    values = Values()
    lines = list(lines_of(str(path))) if evidence.records else []
    found = [values.resolve(one.record(), one.data) for one in lines]
    assert values.missing == 0
    made = [one for one in found if one["type"] == "connection"]
    assert len(made) == sum(written)
    kept = [one for one, is_written in zip(order, written, strict=True) if is_written]
    assert [one["code"]["stack"]["frames"][0][2] for one in made] == kept
