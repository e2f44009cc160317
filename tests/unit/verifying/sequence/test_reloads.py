"""What a run says of its policies, against its records."""

from typing import Any

import pytest

from egressmon.verifying.sequence.counting import Counts
from egressmon.verifying.sequence.reloads import Reloads

Json = dict[str, Any]
A, B, C = (f"sha256:{one * 64}" for one in "abc")


def counts(**connections: int) -> Counts:
    found = Counts()
    found.connections.update(connections)
    return found


def policy(digest: str, before: str, **connections: int) -> Json:
    return {
        "policy_digest": digest,
        "before": before,
        "connections": connections,
        "queries": {},
    }


def end(*policies: tuple[str, Json]) -> Json:
    return {
        "policies": [
            {"policy_digest": digest, "connections": connections, "queries": {}}
            for digest, connections in policies
        ]
    }


def test_what_adds_up_is_right() -> None:
    reloads = Reloads()

    assert not [*reloads.take(policy(B, A, violation=2), counts(violation=2))]
    assert not [*reloads.take(policy(C, B), counts(violation=2))]
    said = end((A, {"violation": 2}), (B, {}), (C, {"allowed": 1}))
    assert not [*reloads.differences(said, A, counts(violation=2, allowed=1))]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (policy(B, A, violation=1), end((A, {"violation": 1}), (B, {"allowed": 1}))),
        (policy(B, C, violation=2), end((C, {"violation": 2}), (B, {"allowed": 1}))),
        (policy(B, A, violation=2), end((A, {"violation": 2}), (C, {"allowed": 1}))),
        (policy(B, A, violation=2), end((A, {"violation": 1}), (B, {"allowed": 1}))),
        (policy(B, A, violation=2), end((A, {"violation": 2}), (B, {"allowed": 2}))),
        (policy(B, A, violation=2), end((A, {"violation": 2}))),
        (policy(B, A, violation=2), end()),
    ],
)
def test_what_does_not_add_up_is_found(record: Json, said: Json) -> None:
    reloads = Reloads()
    found = [*reloads.take(record, counts(violation=2))]
    found += reloads.differences(said, A, counts(violation=2, allowed=1))

    assert found


def test_a_reload_that_no_record_has_is_found() -> None:
    said = end((A, {}), (B, {}))

    assert [*Reloads().differences(said, A, counts())]
    assert not [*Reloads().differences({}, A, counts())]


def test_the_policy_before_is_the_one_that_the_last_reload_named() -> None:
    reloads = Reloads()
    list(reloads.take(policy(B, A), counts()))

    assert [*reloads.take(policy(C, A), counts())]
