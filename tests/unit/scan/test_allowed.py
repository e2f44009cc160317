"""What is allowed needs a digest and a reason; all else in the file is refused."""

import os
from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.scan.allowed import read_allowed

DIGEST = "0123456789abcdef" * 2
HEAD = "version = 1\n"


def test_digests_are_read_with_their_reasons(tmp_path: Path) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(f'{HEAD}[[allow]]\ndigest = "{DIGEST}"\nreason = "an example"\n')

    assert read_allowed(str(path)) == {DIGEST: "an example"}


def test_without_a_file_nothing_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_allowed(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "version must be 1"),
        ("version = true", "version must be 1"),
        ("version = 2", "version must be 1"),
        (HEAD + "allow_all = true", "unknown key 'allow_all'"),
        (HEAD + "allow = 1", "a list of tables"),
        (HEAD + "allow = [1]", "must be a table"),
        (HEAD + '[[allow]]\ndigest = "*"\nreason = "x"', "32 hexadecimal digits"),
        (HEAD + f'[[allow]]\ndigest = "{DIGEST}"', "a reason is missing"),
        (HEAD + f'[[allow]]\ndigest = "{DIGEST}"\nreason = " "', "a reason is missing"),
        (HEAD + f'[[allow]]\ndigest = "{DIGEST}"\nreason = 1', "a reason is missing"),
        (HEAD + f'[[allow]]\ndigest = "{DIGEST}"\npath = "x"', "unknown key 'path'"),
        (HEAD + f'[[allow]]\ndigest = "{DIGEST}"\nreason = "x"\n' * 2, "already"),
        ("version = ", "Invalid value"),
        ("\x00", "Invalid"),
        (HEAD + "x" * (5 << 20), "larger than"),
    ],
)
def test_anything_else_is_one_line_of_error(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"allow\.toml: ") as caught:
        read_allowed(str(path))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_or_a_link_in_its_place_is_no_way_to_hang_or_hide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(".egressmon-scan.toml")
    with pytest.raises(UsageError):
        read_allowed(None)

    (tmp_path / ".egressmon-scan.toml").unlink()
    (tmp_path / ".egressmon-scan.toml").symlink_to("gone")
    with pytest.raises(UsageError):
        read_allowed(None)
