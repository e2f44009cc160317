"""Whatever is in a record, its line fits the schema, is printable and bounded."""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon.clock import Clock
from egressmon.evidence import gate
from egressmon.evidence.records import Record
from egressmon.evidence.records.code import StackRecord
from egressmon.evidence.records.running import LossRecord, RunEnd
from egressmon.evidence.referring import ValueRecord
from egressmon.evidence.schema import evidence_schema
from egressmon.evidence.writer import Evidence
from support.watching import check_digest

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
ANY_TEXT = st.text(st.characters(), max_size=40)
HUGE = st.integers() | st.sampled_from([2**53, 2**63, 2**64, 10**400, -(2**64)])


def values(kind: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 -- one a type
    """Draw any value of a field's type, however hostile."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is str:
        return ANY_TEXT
    if kind is int:
        return HUGE
    if kind in {bool, type(None)}:
        return st.booleans() if kind is bool else st.none()
    if origin is Literal:
        return st.sampled_from(inside)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of(*map(values, inside))
    if origin is list:
        return st.lists(values(inside[0]), max_size=4)
    if origin is tuple:
        return st.tuples(*map(values, inside))
    if origin is dict:
        return st.dictionaries(values(inside[0]), values(inside[1]), max_size=4)
    return records(kind)


@cache
def records(kind: type) -> st.SearchStrategy[Any]:
    """Draw any record of that type."""
    hints = get_type_hints(kind)
    fields = {one.name: values(hints[one.name]) for one in dataclasses.fields(kind)}
    if "digest" in fields:
        fields["digest"] = st.text("0123456789abcdef", min_size=32, max_size=32)
    return st.builds(kind, **fields)


@cache
def validator(kind: str) -> Any:
    schema = evidence_schema()
    reference = {"$ref": f"#/$defs/{kind}"}
    return jsonschema.Draft202012Validator({**schema, "oneOf": [reference]})


def line_of(record: Record) -> bytes:
    """Return the line that is written for a record, and check the values before it."""
    file = os.fdopen(os.memfd_create("evidence"), "r+b", buffering=0)
    evidence = Evidence(file, "run-1", Clock(), None)
    assert evidence.write(record, 1)
    *values, line = os.pread(file.fileno(), 1 << 20, 0).splitlines()
    evidence.close()
    assert evidence.failure is None
    for place, value in enumerate(values):
        check_value(value, b"".join([*values[place + 1 :], line]))
    return line


def check_value(value: bytes, lines: bytes) -> None:
    """Assert all that must hold for `value`, to which one of `lines` refers."""
    kind = next(one for one in get_args(ValueRecord) if one.TYPE.encode() in value[:60])
    found = check(value, kind)
    if kind is not StackRecord:  # of a stack, any digest was drawn
        check_digest(found)
        assert f'"digest":"{found["digest"]}"'.encode() in lines


def check(line: bytes, kind: type) -> dict[str, Any]:
    """Assert all that must hold for any line, and return the parsed line."""
    assert len(line) <= gate.MAX_RECORD
    found: dict[str, Any] = json.loads(line)
    validator(kind.__name__).validate(found)
    assert line.decode("utf-8").isprintable()
    check_inside(found)
    return found


def check_inside(value: Any) -> None:
    if isinstance(value, str):
        assert value.isprintable()
        assert len(value) <= 10 * gate.MAX_TEXT + 1
    elif isinstance(value, list):
        for one in cast("Sequence[Any]", value):
            check_inside(one)
    elif isinstance(value, dict):
        for name, one in cast("dict[str, Any]", value).items():
            check_inside(name)
            check_inside(one)
    elif isinstance(value, int):
        assert abs(value) <= gate.MAX_INTEGER


@pytest.mark.parametrize("kind", get_args(Record), ids=lambda one: one.TYPE)
@settings(max_examples=25, suppress_health_check=SLOW)
@given(st.data())
def test_any_record_gives_a_valid_line(kind: type, data: st.DataObject) -> None:
    record = data.draw(records(kind))

    check(line_of(record), kind)


def largest(kind: Any, text: str) -> Any:  # noqa: PLR0911 -- as above
    """Return a value of that type that is larger than anything real."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is str:
        return text * 4500
    if kind is int:
        return 10**400
    if kind is bool or kind is type(None):
        return None if kind is not bool else True
    if origin is Literal:
        return inside[0]
    if origin in {typing.Union, types.UnionType}:
        return largest(inside[0], text)
    if origin is list:
        return [largest(inside[0], text)] * 70
    if origin is tuple:
        return tuple(largest(one, text) for one in inside)
    if origin is dict:
        return {f"{text}{n}" * 200: largest(inside[1], text) for n in range(50)}
    hints = get_type_hints(kind)
    fields = {
        one.name: largest(hints[one.name], text) for one in dataclasses.fields(kind)
    }
    return kind(**fields | ({"digest": "0" * 32} if "digest" in fields else {}))


@pytest.mark.parametrize("text", ["a", "\\", "\x1b", "\U0001f600", "\ud800", "\u202e"])
@pytest.mark.parametrize("kind", get_args(Record), ids=lambda one: one.TYPE)
def test_the_largest_records_are_cut_and_say_so(kind: type, text: str) -> None:
    found = check(line_of(largest(kind, text)), kind)

    assert found["cut"]


def test_what_is_whole_says_nothing_of_cuts() -> None:
    found = check(line_of(LossRecord("lost_flow", 3, "missing \\ \x9b")), LossRecord)

    assert "cut" not in found
    assert found["consequence"] == r"missing \\ \u009b"


def test_what_was_cut_is_named() -> None:
    found = check(line_of(LossRecord("x", 2**64, "y" * 5000)), LossRecord)

    assert found["cut"] == ["count", "consequence"]
    assert found["count"] == 2**53 - 1
    assert found["consequence"] == "y" * 4096 + "…"


@given(st.text(st.characters(), max_size=60))
def test_an_escape_cannot_be_forged(text: str) -> None:
    one = line_of(LossRecord("x", 1, text))
    other = line_of(
        LossRecord("x", 1, text.encode("utf-8", "backslashreplace").decode())
    )

    same = text.encode("utf-8", "backslashreplace").decode() == text
    assert (json.loads(one)["consequence"] == json.loads(other)["consequence"]) is same


@pytest.mark.parametrize("odd", [b"\xff", 1.5, {1, 2}, object()])
def test_what_no_record_holds_is_text(odd: object) -> None:
    assert isinstance(json.loads(gate.admit([odd])[0])[0], str | float)


def test_a_file_at_its_limit_says_what_is_left_out(tmp_path: Any) -> None:
    path = tmp_path / "e.jsonl"
    with path.open("wb", buffering=0) as file:
        evidence = Evidence(file, "run-1", Clock(), None, limit=2000)
        written = [evidence.write(LossRecord("x", 1, "y"), 1) for _ in range(20)]
        end = largest(RunEnd, "a")
        assert evidence.write(end, 1) is True

    lines = path.read_bytes().splitlines()
    assert written == [True] * (len(lines) - 1) + [False] * evidence.left_out
    assert sum(len(line) + 1 for line in lines[:-1]) <= 2000
    assert json.loads(lines[-1])["type"] == "run.end"


def test_a_stack_is_no_longer_than_a_record() -> None:
    hostile = StackRecord("d", ["\x01" * 256] * 2048, [(1, 1, 1)] * 1024, 0)

    assert check(line_of(hostile), StackRecord)["cut"]
