"""Secrets in the names of files and folders."""

import random
from pathlib import Path

import pytest

from egressmon.cassettes.pins import leaks
from egressmon.sanitise.paths import shown_path
from egressmon.scan.names import NameSearch
from support.secrets import filled

KEY = filled("ghp_{w36}", random.Random(5))  # noqa: S311 -- a test's


def test_a_folder_is_told_once_for_all_that_is_in_it() -> None:
    names = NameSearch()
    paths = [f"a/{KEY}/one", f"a/{KEY}/two", f"a/{KEY}/in/x[{KEY}].yaml", "a/b"]

    found = [leak for path in paths for leak in names.results(path)]

    assert [one.path for one in found] == ["a/***", "a/***/in/x[***].yaml"]
    assert {(one.line, one.column, one.kind) for one in found} == {
        (None, None, "github-token")
    }
    assert len({one.digest for one in found}) == 1


@pytest.mark.parametrize(
    "path",
    [
        "tests/cassettes/test_api/test_one[gpt-4o-mini].yaml",
        "objects/" + "0123456789abcdef" * 4,
        "a/b:c=d.txt",
        "bytes-\udcff.yaml",
        "",
    ],
)
def test_other_names_are_shown_as_they_are(path: str) -> None:
    assert shown_path(path) == path
    assert list(NameSearch().results(path)) == []


def test_the_lock_of_cassettes_would_have_all_names(tmp_path: Path) -> None:
    (tmp_path / f"notes-{KEY}.txt").touch()

    (found,) = leaks(str(tmp_path))

    assert found.path == f"{tmp_path}/notes-***.txt"


def test_hostile_names_take_no_time() -> None:
    for letters in ("a", "=", "ghp_", "eyJ", "://", "a=", "%25"):
        shown_path(letters * (200_000 // len(letters)))
