"""What is read of TOML takes no long time, whoever wrote it."""

import time
import tomllib
from pathlib import Path

import pytest

from egressmon.policy.errors import PolicyError
from egressmon.policy.reading import toml

PATH = Path("x.toml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a." * 300_000 + "b = 1", ":1: .* more than 64 parts"),
        ("x = 1\n[" + "a . " * 100_000 + "b]", ":2: .* more than 64 parts"),
        ('"a".' * 100_000 + "b = 1", "more than 64 parts"),
        ("x = {" + "a." * 100_000 + "b = 1}", "more than 64 parts"),
        ('x = [""""a"""", {' + "a." * 100_000 + "b = 1}]", "more than 64 parts"),
        ('x = [ "\\"", {' + "a." * 100_000 + "b = 1}]", "more than 64 parts"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("x = " + "{a = " * 100_000, "nested too deeply"),
        ('"""\\' * 250_000, "not TOML"),
        ("'''" * 333_333, "not TOML"),
        ("'" * 1_000_000, "not TOML"),
        ('"' * 1_000_000, "not TOML"),
    ],
    ids=range(12),
)
def test_what_is_hostile_is_refused_at_once(text: str, what: str) -> None:
    began = time.process_time()
    with pytest.raises(PolicyError, match=what):
        toml.parse(PATH, text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        'x = "' + "a." * 1000 + '"',
        "x = '" + "[" * 1000 + "'",
        'x = """\n' + "a." * 1000 + '\n"""""\ny = 1',
        "x = '''\n" + "{." * 1000 + "\n'''''\ny = 1",
        "# " + "a." * 1000,
        "x = [" + "1.5, " * 1000 + "]",
        "[a.b.c]\n" + "".join(f"k{n}.v = 1.5\n" for n in range(1000)),
        "[[a]]\n" * 1000,
        'x = "\\\\"\ny = "' + "a." * 1000 + '"',
    ],
    ids=range(9),
)
def test_what_is_not_hostile_is_read(text: str) -> None:
    assert toml.parse(PATH, text) == tomllib.loads(text)
