"""What the machine itself reaches is no violation where the policy says so."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from egressmon.evidence.records.traffic import Origin
from egressmon.policy.judging.judge import Verdict, Word
from egressmon.verdicts.unjudged import unjudged

RECORD = cast("Any", SimpleNamespace(origins=SimpleNamespace(machine="record")))
JUDGE = cast("Any", SimpleNamespace(origins=SimpleNamespace(machine="judge")))
VIOLATION = Verdict("violation", None, "no allow entry covers it")


def test_a_violation_of_the_machines_own_is_recorded() -> None:
    verdict = unjudged(VIOLATION, "machine", RECORD)

    assert (verdict.word, verdict.rule) == ("recorded", "origins.machine")
    assert verdict.reason.endswith(VIOLATION.reason)


@pytest.mark.parametrize("origin", ["job", "container", "engine", None])
def test_of_others_it_stays_one(origin: Origin | None) -> None:
    assert unjudged(VIOLATION, origin, RECORD) is VIOLATION


def test_it_stays_one_where_the_policy_judges_all() -> None:
    assert unjudged(VIOLATION, "machine", JUDGE) is VIOLATION


@pytest.mark.parametrize("word", ["allowed", "local"])
def test_what_is_no_violation_stays_as_it_is(word: Word) -> None:
    verdict = Verdict(word, "allow[0]", "it is allowed")

    assert unjudged(verdict, "machine", RECORD) is verdict
