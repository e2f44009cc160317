"""Secrets as people write them on command lines are masked; look-alikes are not.

Each line of `data/secrets.jsonl` is a command; `@S@` stands for a secret, and other
marks for secrets of other alphabets. Each line of `data/harmless.txt` is a command as
one types it into a shell.
"""

import json
import shlex
from pathlib import Path
from typing import cast

import pytest

from egressmon.sanitise import sanitise_argv

DATA = Path(__file__).parent / "data"
# All of them are made up.
SECRETS = {
    "@S@": "Zx9Qw3Er7Ty1Uo5P",
    "@H@": "0123456789abcdef0123456789abcdef01234567",
    "@U@": "ZX9QW3ER7TY1UO5P",
    "@P@": "hunter2",
    "@L@": "correcthorsebattery",
    "@V@": "Zx9Qw3Er7Ty1Uo5PZx9Qw3Er",
}


def _shapes() -> list[tuple[str, list[str]]]:
    rows = map(json.loads, (DATA / "secrets.jsonl").read_text().splitlines())
    return [(cast("str", row["name"]), cast("list[str]", row["argv"])) for row in rows]


SHAPES = _shapes()
HARMLESS = (DATA / "harmless.txt").read_text().splitlines()


def filled(word: str) -> str:
    """Return `word` with secrets in place of the marks."""
    for mark, secret in SECRETS.items():
        word = word.replace(mark, secret)
    return word


@pytest.mark.parametrize(("name", "marked"), SHAPES, ids=[name for name, _ in SHAPES])
def test_no_shape_leaks(name: str, marked: list[str]) -> None:
    argv = [filled(word) for word in marked]

    shown = sanitise_argv(argv)

    assert len(shown) == len(argv), name
    text = "\n".join(shown)
    for secret in (*SECRETS.values(), "AKIAIOSFODNN7EXAMPLE"):
        assert secret not in text
    assert "***" in text
    assert shown[0] == argv[0] or "=" in argv[0]


@pytest.mark.parametrize("line", HARMLESS)
def test_what_only_looks_like_a_secret_stays(line: str) -> None:
    argv = shlex.split(line)

    assert sanitise_argv(argv) == argv


def test_the_lists_are_long() -> None:
    assert len(SHAPES) >= 112
    assert len(HARMLESS) >= 200
    assert len(set(HARMLESS)) == len(HARMLESS)
