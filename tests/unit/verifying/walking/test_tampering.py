"""Whatever is changed in a proof is found, and what was changed is named."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon.verifying.result import Result, Wanted
from egressmon.verifying.walking.place import verify

_FILES = (
    "evidence.lock",
    "policy.toml",
    "run-01/client.log",
    "run-01/evidence.jsonl",
    "run-02/evidence.jsonl",
)
_EVIDENCE = "run-01/evidence.jsonl"
_settings = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def proof(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "proof")
    return tmp_path / "proof"


def verified(proof: Path) -> Result:
    return verify(str(proof), Wanted())


def names(result: Result, path: Path) -> bool:
    """Tell whether the result is bad and tells of the file at `path`.

    Where the lock itself was changed, it says something else of another file.
    """
    found = {one.path for one in result.found}
    if path.name == "evidence.lock":
        return any(one.kind == "lock" for one in result.found)
    return str(path) in found or any(str(path) in str(one) for one in result.unreadable)


def test_nothing_is_found_where_nothing_was_changed(proof: Path) -> None:
    result = verified(proof)
    assert result.found == []
    assert result.unreadable == []
    assert [one.judged for one in result.files] == [4, 4]
    assert [one.resting for one in result.files] == [{}, {}]


@_settings
@given(data=st.data())
def test_any_changed_byte_is_found(proof: Path, data: st.DataObject) -> None:
    path = proof / data.draw(st.sampled_from(_FILES))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != before[place]))
    path.write_bytes(before[:place] + bytes([byte]) + before[place + 1 :])
    try:
        assert names(verified(proof), path)
    finally:
        path.write_bytes(before)


@_settings
@given(data=st.data())
def test_any_removed_swapped_or_added_line_is_found(
    proof: Path, data: st.DataObject
) -> None:
    path = proof / data.draw(st.sampled_from(_FILES))
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.integers(0, len(lines) - 1))
    what = data.draw(st.sampled_from(("remove", "swap", "add")))
    if what == "remove":
        del lines[place]
    elif what == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines.insert(other, lines[place])
    path.write_bytes(b"".join(lines))
    try:
        if path.read_bytes() != before:
            assert names(verified(proof), path)
    finally:
        path.write_bytes(before)


# Without the lock: what the records themselves say.
@_settings
@given(data=st.data())
def test_the_record_of_a_changed_byte_is_named(
    evidence: Path, data: st.DataObject
) -> None:
    before = evidence.read_bytes()
    last = before.rindex(b"\n", 0, len(before) - 1) + 1
    place = data.draw(st.integers(0, last - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != before[place]))
    evidence.write_bytes(before[:place] + bytes([byte]) + before[place + 1 :])
    number = before.count(b"\n", 0, place) + 1
    try:
        result = verify(str(evidence), Wanted())
        lines = [one.line for one in result.found if one.line is not None]
        assert lines or result.unreadable
        assert min(lines, default=number) in {number, number + 1}
    finally:
        evidence.write_bytes(before)


def test_a_removed_file_and_one_that_was_added_are_named(proof: Path) -> None:
    (proof / _EVIDENCE).unlink()
    (proof / "run-03").mkdir()
    (proof / "run-03" / "evidence.jsonl").write_bytes(
        (proof / "run-02" / "evidence.jsonl").read_bytes()
    )
    found = {(one.path, one.message.partition(":")[0]) for one in verified(proof).found}
    assert (str(proof / _EVIDENCE), "missing") in found
    assert (str(proof / "run-03/evidence.jsonl"), "unlisted") in found
