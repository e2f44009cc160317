"""Whether a baseline and a recent run are there, for `egressmon doctor`."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from egressmon.cli.machine.layers import Asked, layers_of
from egressmon.drift.freshness import Freshness, freshness_of
from egressmon.drift.model import Content, Review
from egressmon.drift.toml_form import digest_of, text_of
from egressmon.policy.language.drift import Drift
from egressmon.policy.language.model import Layers, Policy
from support.reached import connection, run_of, write

SETTINGS = Drift(baseline="baseline.toml", evidence="nightly")
REVIEW = Review("Ada", "as it should be", "2026-10-29", digest_of(Content()))


def make(folder: Path, *reviews: Review, content: Content | None = None) -> None:
    text = text_of(content or Content(), reviews)
    (folder / "baseline.toml").write_text(text)


def found(folder: Path, settings: Drift = SETTINGS, day: int = 2) -> Freshness:
    return freshness_of(settings, folder, date(2026, 11, day))


def test_without_a_baseline_in_the_policy_it_says_how_to_make_one(
    tmp_path: Path,
) -> None:
    one = found(tmp_path, Drift())

    assert one.found is False
    assert "drift.baseline" in one.says
    assert one.remedy == "egressmon baseline write EVIDENCE -o FILE"


def test_a_baseline_that_is_not_there(tmp_path: Path) -> None:
    one = found(tmp_path)

    assert one.found is False
    assert one.remedy.endswith(f"-o {tmp_path}/baseline.toml")


def test_a_baseline_that_nobody_reviewed_or_somebody_edited(tmp_path: Path) -> None:
    make(tmp_path)
    assert found(tmp_path).says.startswith("nobody has reviewed")
    make(tmp_path, REVIEW, content=Content(facts={"resolvers": ("192.0.2.1/udp",)}))
    one = found(tmp_path)

    assert "edited since its last review" in one.says
    assert "--reviewed-by NAME --reason TEXT" in one.remedy


def test_a_baseline_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "baseline.toml").write_text("hello")

    assert found(tmp_path).found is False


def test_no_evidence_is_named(tmp_path: Path) -> None:
    make(tmp_path, REVIEW)

    one = found(tmp_path, Drift(baseline="baseline.toml"))

    assert one.found is None
    assert one.remedy == "set drift.evidence in the policy"


def test_there_is_no_run(tmp_path: Path) -> None:
    make(tmp_path, REVIEW)

    one = found(tmp_path)

    assert one.found is False
    assert "no last run" in one.says


@pytest.mark.parametrize(
    ("day", "says"),
    [
        (1, "reviewed 3 days ago by Ada; last run today"),
        (2, "reviewed 4 days ago by Ada; last run 1 day ago"),
        (3, "reviewed 5 days ago by Ada; last run 2 days ago: 2 days are too many"),
    ],
)
def test_the_last_run_must_be_recent(tmp_path: Path, day: int, says: str) -> None:
    make(tmp_path, REVIEW)
    write(tmp_path / "nightly" / "old.jsonl", run_of(connection(), run="a", day=1))

    one = found(tmp_path, day=day)

    assert (one.found, one.says) == ("too many" not in says, says)


@pytest.mark.parametrize(
    "torn",
    [{"has_end": False}, {"end": {"complete": False}}],
)
def test_a_run_that_is_not_whole_is_not_the_last_one(
    tmp_path: Path, torn: dict[str, Any]
) -> None:
    make(tmp_path, REVIEW)
    nightly = tmp_path / "nightly"
    path = write(nightly / "b.jsonl", run_of(connection(), run="b", day=2, **torn))
    assert "no run that has ended and is complete" in found(tmp_path).says

    write(nightly / "a.jsonl", run_of(connection(), run="a", day=1))
    one = found(tmp_path)
    assert one.found is True
    assert one.says.endswith(
        "last run 1 day ago (1 after it did not end, or is incomplete)"
    )
    assert found(tmp_path, day=3).found is False

    write(path, run_of(connection(), run="b", day=2))
    path.write_bytes(path.read_bytes()[:-1])
    assert "1 after it" in found(tmp_path).says


def test_a_run_of_the_future_is_none_that_is_known(tmp_path: Path) -> None:
    make(tmp_path, REVIEW)
    write(tmp_path / "nightly" / "e.jsonl", run_of(connection(), day=20))

    assert found(tmp_path).found is None


def test_doctor_fails_where_the_policy_asks_for_it(tmp_path: Path) -> None:
    for settings, is_missing in ((Drift(), True), (SETTINGS, True)):
        policy = Policy(version=1, drift=settings, layers=Layers(require=("drift",)))
        layers = layers_of(Asked(policy, str(tmp_path / "egress.toml")), [True])
        (one,) = (layer for layer in layers if layer.name == "drift")
        assert one.is_missing is is_missing
        assert one.remedy
