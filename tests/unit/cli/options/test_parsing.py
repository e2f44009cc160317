"""What follows `--` is the command of a verb that runs one, and else its paths."""

import pytest

from egressmon.cli import main
from egressmon.cli.options import parsing
from egressmon.errors import UsageError


@pytest.mark.parametrize(
    ("line", "name", "found"),
    [
        ("scan -- -x", "paths", ["-x"]),
        ("scan a -- -x --format", "paths", ["a", "-x", "--format"]),
        ("verify --format json -- -x", "path", ["-x"]),
        ("report -- -x", "evidence", ["-x"]),
        ("policy check -- -x", "file", "-x"),
        ("cassettes lock -- -x", "directories", ["-x"]),
        ("watch -- ls -x -- y", "command", ["ls", "-x", "--", "y"]),
        ("prove -- ls", "command", ["ls"]),
        ("cassettes refresh -- ls -x", "command", ["ls", "-x"]),
        ("watch", "command", []),
    ],
)
def test_the_words_after_two_dashes(line: str, name: str, found: object) -> None:
    parsed = parsing.parse(line.split(), main.add_verbs)
    assert getattr(parsed, name) == found


@pytest.mark.parametrize("line", ["doctor -- x", "scan --", "-- scan x", "scan -x"])
def test_what_a_verb_does_not_take_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        parsing.parse(line.split(), main.add_verbs)
