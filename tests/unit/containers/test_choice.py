"""Only what is confirmed to be another container is left out."""

import time

import pytest

from egressmon.containers.choice import MAX_CONTAINERS, Choice, Fate
from egressmon.containers.wanted import wanted_of
from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.values import replace

OTHER = ContainerRecord(
    key="docker:db@5",
    engine="docker",
    id="ab" * 32,
    cgroup="/docker/ab",
    made_by=0,
    outer=None,
    name="db",
    image=None,
    labels=[],
    labels_cut=False,
    pid=None,
    confirmed=True,
    reason=None,
)
OPEN = replace(OTHER, name=None, confirmed=False, reason="not asked yet")


@pytest.fixture
def choice() -> Choice:
    return Choice((wanted_of("web"), wanted_of("label=role=job")))


def judge(
    choice: Choice,
    one: ContainerRecord = OTHER,
    *,
    is_open: bool = False,
    is_whole: bool = True,
) -> tuple[str | None, str | None]:
    found = choice.judged(one, is_open=is_open, is_whole=is_whole)
    return found.watched, found.watched_reason


def test_it_is_open_until_its_engine_has_answered(choice: Choice) -> None:
    assert judge(choice, OPEN, is_open=True, is_whole=False) == ("open", None)
    assert choice.fate([OTHER.key]) is Fate.OPEN
    assert judge(choice) == ("no", None)
    assert choice.fate([OTHER.key]) is Fate.OTHER
    assert choice.unmatched() == ["web", "label=role=job"]
    assert choice.counts() == {"yes": 0, "no": 1, "doubt": 0, "open": 0}


def test_what_is_meant_is_watched(choice: Choice) -> None:
    assert judge(choice, replace(OTHER, name="web")) == ("yes", None)
    assert choice.fate([OTHER.key]) is Fate.WATCHED
    assert choice.unmatched() == ["label=role=job"]


def test_a_claim_to_be_it_is_watched_and_does_not_count(choice: Choice) -> None:
    claim = replace(OTHER, name="web", confirmed=False, reason="user 5 made its cgroup")

    assert judge(choice, claim) == ("yes", None)
    assert choice.unmatched() == ["web", "label=role=job"]


@pytest.mark.parametrize(
    ("one", "is_whole", "reason"),
    [
        (OPEN, False, "not asked yet"),
        (replace(OTHER, confirmed=False, reason="a claim"), True, "a claim"),
        (OTHER, False, "did not say all"),
        (replace(OTHER, labels_cut=True), True, "did not say all"),
    ],
)
def test_what_is_not_known_to_be_another_is_watched(
    choice: Choice, one: ContainerRecord, reason: str, *, is_whole: bool
) -> None:
    watched, why = judge(choice, one, is_whole=is_whole)

    assert watched == "doubt"
    assert reason in (why or "")
    assert choice.fate([one.key]) is Fate.WATCHED


def test_who_reached_an_engine_before_it_answered_is_watched(choice: Choice) -> None:
    judge(choice, OPEN, is_open=True)
    choice.distrust([OTHER.key])

    assert judge(choice)[0] == "doubt"


def test_who_reaches_one_later_stays_another(choice: Choice) -> None:
    judge(choice)
    choice.distrust([OTHER.key])

    assert judge(choice) == ("no", None)


@pytest.mark.parametrize(("name", "watched"), [("web", "yes"), ("db", "no")])
def test_what_is_inside_another_is_of_that(
    choice: Choice, name: str, watched: str
) -> None:
    judge(choice, replace(OTHER, name=name))
    inner = replace(OPEN, key="docker:in@6", outer=OTHER.key)

    assert judge(choice, inner)[0] == watched


def test_of_several_the_one_that_is_watched_counts(choice: Choice) -> None:
    judge(choice)
    judge(choice, replace(OTHER, key="docker:web@6", name="web"))

    assert choice.fate([]) is Fate.OUTSIDE
    assert choice.fate([OTHER.key]) is Fate.OTHER
    assert choice.fate([OTHER.key, "docker:web@6"]) is Fate.WATCHED
    assert choice.fate([OTHER.key, "of nothing that is known"]) is Fate.WATCHED


def test_what_is_open_for_too_long_is_watched(
    choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(choice, OPEN, is_open=True)
    assert choice.late() == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)

    assert choice.late() == [OTHER.key]
    found = choice.given_up(OPEN)
    assert (found.watched, choice.late()) == ("doubt", [])
    assert "after 10 s" in (found.watched_reason or "")
    assert choice.fate([OTHER.key]) is Fate.WATCHED
    assert judge(choice) == ("no", None)  # it has answered after all


def test_of_too_many_the_first_are_watched(choice: Choice) -> None:
    judge(choice)
    for number in range(MAX_CONTAINERS):
        judge(choice, replace(OTHER, key=f"docker:x@{number + 6}"))

    assert choice.fate([OTHER.key]) is Fate.WATCHED
    assert choice.fate(["docker:x@6"]) is Fate.OTHER
