"""What ends before the command starts has a status and a line of its own."""

import sys

import pytest

from egressmon.cli import main
from egressmon.cli.verbs.table import VERBS, Verb


def test_a_defect_before_the_start_is_125(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("it broke")

    verb = VERBS["watch"]
    monkeypatch.setitem(VERBS, "watch", Verb(verb.add, fail, runs_command=True))
    monkeypatch.setattr(sys, "argv", ["egressmon", "watch", "--", "true"])

    assert main.main() == 125
    assert capsys.readouterr().err == (
        "error: it broke\nhint: this is a defect; --verbose shows where\n"
    )
