"""`egressmon sidecar` and its words: statuses, and options in their places."""

import sys
from pathlib import Path

import pytest

from egressmon.cli import main
from egressmon.cli.options.sidecar import verbs as options
from egressmon.cli.verbs.table import SIDECAR_WORDS


def test_the_words_are_the_same_before_and_after_the_options_are_read() -> None:
    assert options.WORDS == SIDECAR_WORDS


def status_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["egressmon", "sidecar", *words])
    return main.main()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--detach",), 125),  # its token would go nowhere
        (("--nonsense",), 125),
        (("--cgroup", "/x", "--all"), 125),
        (("status", "--nonsense"), 2),
        (("status", "--runtime", "/nonexistent"), 2),
        (("--runtime", "/nonexistent", "status"), 2),
        (("status", "--runtime", ""), 2),
        (("--all", "status"), 2),
        (("--evidence", "/x", "stop"), 2),
        (("mark",), 2),
        (("mark", "a", "b"), 2),
        (("mark", ""), 2),
        (("mark", "::error::x"), 2),
        (("mark", "\udcff"), 2),
        (("mark", "x" * 101), 2),
        (("stop", "--runtime", "/nonexistent"), 2),
        (("stop", "--report", "html"), 2),
        (("stop", "--token", "x"), 2),
        (("stop", "--token-file", "/nonexistent"), 2),
        (("--token-file", "/nonexistent", "stop"), 2),
        (("stop", "--token-file", "/x", "--token-stdin"), 2),
        (("reload", "--runtime", "/nonexistent"), 2),
        (("quit",), 125),
    ],
)
def test_what_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int,
) -> None:
    assert status_of(monkeypatch, *words) == status
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert "\nhint: " in error
    assert error.count("\n") == 2


def test_a_folder_before_the_word_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    status_of(monkeypatch, "--runtime", str(tmp_path), "status")

    assert str(tmp_path) in capsys.readouterr().err


def test_a_token_file_before_the_word_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "none")
    status_of(monkeypatch, "--token-file", path, "stop", "--runtime", str(tmp_path))

    assert f"the token file {path} cannot be read" in capsys.readouterr().err
