"""What engines say is read, whatever it is."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.containers.facts import (
    MAX_LABELS,
    MAX_TEXT,
    Facts,
    FactsError,
    facts_of_answer,
    facts_of_bundle,
)
from support.container_engines import inspected, response

ID = "ab" * 32


def answer(**fields: Any) -> bytes:
    return response(json.dumps(inspected(ID, "web", **fields)).encode())


def test_an_answer_has_name_image_labels_and_pid() -> None:
    found = facts_of_answer(answer(State={"Pid": 42}))

    assert found == Facts(ID, "web", "app:1", ("role=test",), labels_cut=False, pid=42)


def test_labels_are_bounded_in_number_and_size() -> None:
    labels = {f"{number:03}": "x" * 1000 for number in range(100)}
    found = facts_of_answer(answer(Config={"Labels": labels}))

    assert len(found.labels) == MAX_LABELS
    assert {len(one) for one in found.labels} == {MAX_TEXT}
    assert found.labels_cut
    assert found.image is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no HTTP response"),
        (b"HTTP/1.1 200 OK\r\n", "no HTTP response"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 20000 + b"\r\n\r\n{}", "no HTTP response"),
        (response(b"{}", "404 Not Found"), "knows no such container"),
        (response(b"{}", "500 Oh"), "HTTP status 500"),
        (response(b"{}"), "which container"),
        (response(b'{"Id": ["x"]}'), "which container"),
        (response(b"[]"), "no JSON object"),
        (response(b"{"), "no JSON"),
        (response(b"[" * 100_000), "no JSON"),
        (response(b"1" * 100_000), "no JSON"),
    ],
)
def test_what_says_nothing_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(FactsError, match=why):
        facts_of_answer(data)


@pytest.mark.parametrize("value", [None, 1, [], "", {"a": 1}, True])
def test_fields_of_other_kinds_are_none(value: object) -> None:
    found = facts_of_answer(
        answer(Name=value, Config=value, State={"Pid": value or "1"})
    )

    assert (found.name, found.image, found.labels) == (None, None, ())


def test_a_bundle_of_kubernetes_has_names() -> None:
    notes = {
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.image-name": "app:1",
        "secret": "not told",
    }
    found = facts_of_bundle(json.dumps({"annotations": notes}).encode())

    assert (found.name, found.image) == ("web", "app:1")
    assert all("secret" not in one for one in found.labels)
    assert facts_of_bundle(b"{}") == Facts(None, None, None)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, has_head: bool) -> None:  # noqa: FBT001 -- hypothesis
    for read in (facts_of_answer, facts_of_bundle):
        try:
            read(response(data) if has_head else data)
        except FactsError:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = st.sampled_from(["Id", "Name", "Config", "State", "annotations", "Labels"])


@given(st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON)))
def test_any_object_is_read(found: Any) -> None:
    data = json.dumps(found).encode()

    with suppress(FactsError):  # it has no id
        assert len(facts_of_answer(response(data)).labels) <= MAX_LABELS
    assert len(facts_of_bundle(data).labels) <= MAX_LABELS
