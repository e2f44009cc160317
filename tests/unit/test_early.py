"""Probes are loaded early only if no argument can ask for others."""

import pytest

from egressmon import early
from egressmon.cli.main import add_verbs
from egressmon.cli.options.parsing import parse
from egressmon.cli.verbs.table import VERBS


class Asked:
    """Stands for `Preparation`: notes what was asked for, and loads nothing."""

    def __init__(self, choice: str, *, frames: bool, stored: object) -> None:
        assert callable(stored)
        self.asked = choice, frames


@pytest.fixture(autouse=True)
def _nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "Preparation", Asked)


@pytest.mark.parametrize(
    "words",
    [
        "watch -- true",
        "watch --quiet --evidence e.jsonl -- true --engine bcc",
        "learn --argv none -- true",
        "watch --attribution process -- true",
        "watch --quiet --attribution=module --engine auto -- true --engine bcc",
    ],
)
def test_a_plain_run_is_prepared_as_it_will_be_asked_for(words: str) -> None:
    arguments = words.split()

    found = early.prepare(arguments)

    options = parse(arguments, add_verbs)
    assert found is not None
    assert found.asked == (options.engine, options.attribution == "full")


def test_what_runs_a_command_is_prepared_and_nothing_else() -> None:
    prepared = {name for name in VERBS if early.prepare([name, "--", "true"])}

    watching = {name for name, verb in VERBS.items() if verb.runs_command}
    # Each run of prove loads them, and a sidecar others.
    assert prepared == watching - {"prove", "sidecar"}


@pytest.mark.parametrize(
    "words",
    [
        "watch --engine bcc -- true",
        "watch --engine=libbpf -- true",
        "watch --eng bcc -- true",
        "watch --attribution nothing -- true",
        "watch --attribution -- true",
        "watch --at=process -- true",
        "watch --help",
        "watch true",
        "doctor",
        "policy check -- x",
        "",
    ],
)
def test_what_may_be_another_thing_waits_for_the_arguments(words: str) -> None:
    assert early.prepare(words.split()) is None
