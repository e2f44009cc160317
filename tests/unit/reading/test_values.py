"""What records refer to is put in the place of the reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.reading import values as reading
from egressmon.reading.values import Json, Values

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["digest", "stack", "code", "process", "type", "x"]), inner
        )
    ),
)


def actor(digest: str) -> Json:
    return {"type": "actor", "seq": 1, "digest": digest, "exe": f"/bin/{digest}"}


def connection(digest: str) -> Json:
    return {"type": "connection", "process": {"tid": 7, "digest": digest}}


def test_a_reference_keeps_what_is_its_own() -> None:
    values = Values()
    values.resolve(actor("a"), 100)

    found = values.resolve(connection("a"), 100)

    assert found["process"] == {"tid": 7, "digest": "a", "exe": "/bin/a"}
    assert values.missing == 0


def test_stacks_are_found_in_the_code() -> None:
    values = Values()
    values.resolve({"type": "stack", "digest": "s", "frames": [[1, 2, 3]]}, 100)

    code = {"stack": {"digest": "s"}, "created_by": None, "started_by": {"digest": "t"}}
    found = values.resolve({"type": "dns", "code": code}, 100)

    assert found["code"]["stack"] == {"digest": "s", "frames": [[1, 2, 3]]}
    assert found["code"]["started_by"] == {"digest": "t"}
    assert values.missing == 1


def test_no_more_is_kept_than_a_writer_remembers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_MAX", 2)
    monkeypatch.setattr(reading, "_MAX_BYTES", 1000)
    values = Values()
    for digest in "ab":
        values.resolve(actor(digest), 100)
    values.resolve(connection("a"), 10)
    values.resolve(actor("c"), 100)

    assert "exe" in values.resolve(connection("a"), 10)["process"]
    assert "exe" not in values.resolve(connection("b"), 10)["process"]
    values.resolve(actor("d"), 950)
    assert "exe" not in values.resolve(connection("a"), 10)["process"]
    assert values.missing == 2


@given(st.lists(ANY))
def test_fields_of_any_type_end_nothing(found: list[object]) -> None:
    values = Values()
    for one in found:
        for kind in ("actor", "connection"):
            record: Json = {"type": kind, "digest": one, "process": one, "code": one}
            assert values.resolve(record, 10)["type"] == kind
