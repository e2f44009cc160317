"""How a run ended is believed only if it is said as a sidecar says it."""

from typing import Any

import pytest

from egressmon.sidecar.client import AskError
from egressmon.sidecar.stopped import stopped_of
from support.control import END

CLEAN: dict[str, Any] = {"verdict": "clean", "exit_status": 0, "violations": []}


def test_an_end() -> None:
    found = stopped_of({"ok": True, **END})

    assert (found.verdict, found.exit_status, found.is_concluded) == (
        "violations",
        120,
        True,
    )
    assert found.violations[0].process == "curl"
    assert stopped_of({**END, **CLEAN}).exit_status == 0


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "incomplete"},
        {"concluded": False},
        {"verdict": "incomplete", "concluded": False},
    ],
)
def test_what_is_incomplete_is_no_success(change: dict[str, Any]) -> None:
    assert stopped_of({**END, **CLEAN, **change}).exit_status == 121


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verdict", "fine"),
        ("verdict", None),
        ("verdict", ["clean"]),
        ("exit_status", False),
        ("exit_status", 0.0),
        ("exit_status", "0"),
        ("exit_status", -1),
        ("exit_status", 1),
        ("exit_status", 256),
        ("exit_status", 10**30),
        ("exit_status", None),
        ("concluded", 1),
        ("concluded", "true"),
        ("concluded", None),
        ("run", 7),
        ("head", None),
        ("records", True),
        ("records", -1),
        ("connections", []),
        ("connections", {"allowed": "3"}),
        ("queries", {"allowed": -3}),
        ("incomplete_reasons", "none"),
        ("violations", {}),
        ("violations", ["x"]),
        ("violations", [{"destination": "x"}]),
    ],
)
def test_what_is_not_understood(name: str, value: object) -> None:
    with pytest.raises(AskError, match=f"not understood: {name}$") as caught:
        stopped_of({**END, **CLEAN, name: value})

    assert caught.value.status == 2


def test_nothing_may_be_missing() -> None:
    for name in END:
        with pytest.raises(AskError):
            stopped_of({key: value for key, value in END.items() if key != name})


def test_no_more_is_shown_than_fifty() -> None:
    many = END["violations"] * 500

    assert len(stopped_of({**END, "violations": many}).violations) == 50
