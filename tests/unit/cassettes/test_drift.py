"""Answers that are too much to be compared are named, and never taken for equal."""

import json

import pytest

from egressmon.cassettes import shape
from egressmon.cassettes.drift import Change, Unreadable, differences
from egressmon.cassettes.loading import Interaction

DEEP = 50_000


def answer(body: str, **headers: str) -> Interaction:
    listed = {name.replace("_", "-"): [one] for name, one in headers.items()}
    return Interaction("GET", "http://h/x", 200, listed, body.encode("latin-1"))


def found(old: str, new: str, **headers: str) -> list[Change | Unreadable]:
    one, other = answer(old, **headers), answer(new, **headers)
    return list(differences("a.yaml", [one], [other]))


def test_many_places_are_compared() -> None:
    many = {str(place): place for place in range(20_000)}

    (change,) = found(json.dumps({**many, "x": 1}), json.dumps({**many, "x": "1"}))

    assert isinstance(change, Change)
    assert (change.where, change.old, change.new) == ("$.x", "number", "string")


@pytest.mark.parametrize("begin", ["", "data: "])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (json.dumps({str(one): 1 for one in range(100_001)}), "too many places"),
        (json.dumps({"x" * 4_000_000: [[[[[[[[[1]]]]]]]]]}), "too many places"),
        ("[" * DEEP + "]" * DEEP, "nested too deeply"),
        ("[" * 500 + "]" * 500 + "," * 2_000_000, "more than 2000000 values"),
    ],
    ids=["places", "long places", "depth", "values"],
)
def test_what_is_too_much_is_not_compared(begin: str, text: str, why: str) -> None:
    (unread,) = found(f"{begin}{text}", f"{begin}{text} ")

    assert isinstance(unread, Unreadable)
    assert why in unread.reason


def test_what_is_beyond_the_limit_of_events_is_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shape, "MAX_VALUES", 3)

    (unread,) = found("{}\n" * 4 + '{"a":1}', "{}\n" * 4 + '{"a":""}')

    assert isinstance(unread, Unreadable)


def test_a_number_of_any_length_is_one() -> None:
    long = "1" * 5000

    (change,) = found(f'{{"a": {long}, "b": 1}}', f'{{"a": {long}, "b": ""}}')

    assert isinstance(change, Change)
    assert change.where == "$.b"


def test_a_sequence_of_json_texts_is_compared() -> None:
    (change,) = found('\x1e{"a":1}\n\x1e{}\n', '\x1e{"a":""}\n\x1e{}\n')

    assert isinstance(change, Change)
    assert change.where == "$[].a"


def test_what_neither_can_be_decoded_is_not_compared() -> None:
    (unread,) = found("\x28\xb5\x2f", "\x28\xb5\xff", content_encoding="zstd")

    assert isinstance(unread, Unreadable)
    assert "can be decoded here" in unread.reason
    assert not found("\x28\xb5", "\x28\xb5", content_encoding="zstd")
