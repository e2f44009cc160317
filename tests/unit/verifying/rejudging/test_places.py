"""Names hold where they were learned, and what is repeated stands for what there is."""

from pathlib import Path

import pytest

from egressmon.verifying.result import Wanted
from egressmon.verifying.walking.place import verify
from support.forging import Json, forge
from support.replaying import RESOLVER


def of(records: list[Json], *kinds: str) -> list[Json]:
    return [one for one in records if one["type"] in kinds]


def tell(records: list[Json], **fields: object) -> None:
    """Add the record of place 1 before the first look-up."""
    first = of(records, "dns")[0]
    known = {name: first[name] for name in ("schema", "type", "seq", "time", "run")}
    record = {
        **known, "type": "place", "phase": None, "prev": None, "number": 1, "netns": 9,
        "container": None, "pid": 100, "comm": "sh", "resolvers": [RESOLVER],
        "search": [], "ndots": 1, "hosts": 0, "reasons": [], **fields,
    }  # fmt: skip
    records.insert(records.index(first), record)


def move(records: list[Json], *kinds: str) -> None:
    for one in of(records, *kinds):
        one["place"] = 1


def found(evidence: Path) -> list[str]:
    result = verify(str(evidence), Wanted())
    assert result.unreadable == []
    return [f"{one.kind}: {one.message}" for one in result.found]


def test_what_a_place_learned_names_there(evidence: Path) -> None:
    def change(records: list[Json]) -> None:
        tell(records)
        move(records, "dns", "connection")

    forge(evidence, change)

    assert found(evidence) == []


@pytest.mark.parametrize("kind", ["dns", "connection"])
def test_what_one_place_learned_names_nothing_in_another(
    evidence: Path, kind: str
) -> None:
    def change(records: list[Json]) -> None:
        tell(records)
        move(records, kind)

    forge(evidence, change)

    assert any("is no name of 203.0.113.9" in one for one in found(evidence))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"number": 2}, "tells of place 2"),
        ({"resolvers": []}, "does not trust the run's resolvers"),
        ({"resolvers": ["x"]}, "tells of no resolver"),
    ],
)
def test_a_place_that_cannot_be_is_found(
    evidence: Path, fields: dict[str, object], why: str
) -> None:
    forge(evidence, lambda records: tell(records, **fields))

    assert any(why in one for one in found(evidence))


def test_a_place_must_be_told_of_before(evidence: Path) -> None:
    forge(evidence, lambda records: move(records, "connection"))

    assert any("place 1, which is not before it" in one for one in found(evidence))


def hide(
    records: list[Json], word: str, helper: str, place: int | None, pid: int
) -> None:
    """Say of the violation that a helper repeats another's connection."""
    made = of(records, "connection")
    one = next(one for one in made if one["verdict"] == "violation")
    one["relayed"] = {"helper": helper, "place": place, "pid": pid}
    rule = made[0]["rule"] if word == "allowed" else None
    one.update(verdict=word, rule=rule)
    records[-1].update(connections={"allowed": 2}, verdict="clean", exit_status=0)


@pytest.mark.parametrize("word", ["allowed", "violation"])
@pytest.mark.parametrize(
    "who", [("pasta", 1, 100), ("pasta", 0, 100), ("docker-proxy", 0, 7)], ids=str
)
def test_what_repeats_nothing_is_found(
    evidence: Path, who: tuple[str, int, int], word: str
) -> None:
    forge(evidence, lambda records: hide(records, word, *who))

    assert any("it repeats" in one for one in found(evidence))


def test_a_helper_that_nobody_knows_repeats_nothing(evidence: Path) -> None:
    forge(evidence, lambda records: hide(records, "allowed", "curl", 0, 100))

    assert any("curl repeats no such thing" in one for one in found(evidence))
