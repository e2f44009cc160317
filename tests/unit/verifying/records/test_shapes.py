"""Our own check of a record's fields says what the shipped JSON Schema says."""

import json
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon.evidence.schema import evidence_schema
from egressmon.verifying.records.shapes import shapes

_VALIDATOR: Any = jsonschema.Draft202012Validator(evidence_schema())
_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, 1, 1.5, "text", "allowed", [], {}, ["a"], [[]])
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, one in cast("dict[str, Any]", value).items():
            found += _paths(one, (*path, name))
    elif isinstance(value, list):
        for place, one in enumerate(cast("Any", value)):
            found += _paths(one, (*path, place))
    return found


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_changed_field_is_right_or_wrong_for_both(
    evidence: Path, data: st.DataObject
) -> None:
    lines = evidence.read_bytes().splitlines()
    record = json.loads(data.draw(st.sampled_from(lines)))
    kind = record["type"]
    # What is in every record is checked with the line (envelope.py).
    own = [path for path in _paths(record) if path[0] not in _ENVELOPE]
    *before, last = data.draw(st.sampled_from(own))
    holder = record
    for name in before:
        holder = holder[name]
    holder[last] = data.draw(_VALUES)
    if "verdict" in record and kind != "run.end" and holder is record:
        record["verdict"] = "allowed"
    complaint = shapes()[kind].check(record)
    assert (complaint is None) is _VALIDATOR.is_valid(record), complaint


_ENVELOPE = {"schema", "type", "seq", "time", "run", "phase", "prev"}


def test_every_kind_of_record_has_a_shape() -> None:
    definitions = evidence_schema()["$defs"].values()
    kinds = {
        one["properties"]["type"]["const"]
        for one in definitions
        if "const" in one["properties"].get("type", {})
    }
    assert set(shapes()) == kinds


@pytest.mark.parametrize("name", ["search", "ndots", "policy_kind"])
def test_a_field_that_came_later_may_be_missing(evidence: Path, name: str) -> None:
    start = json.loads(evidence.read_bytes().splitlines()[0])
    del start[name]
    assert shapes()["run.start"].check(start) is None
    del start["host"]
    assert "host" in (shapes()["run.start"].check(start) or "")
