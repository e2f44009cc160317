"""What the user names for writing is opened without waiting for ever."""

import os
import threading
from pathlib import Path

import pytest

from egressmon.cli.policy.output import PolicyOutput
from egressmon.errors import UsageError
from egressmon.files.writing import open_for_writing


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A named pipe that nobody reads; readers are waited for a moment only."""
    monkeypatch.setattr("egressmon.files.writing._READER_S", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_pipe_without_a_reader_is_an_error(pipe: Path) -> None:
    with pytest.raises(OSError, match="nobody reads this pipe"):
        open_for_writing(str(pipe), 0)


def test_a_policy_is_not_written_to_such_a_pipe(pipe: Path) -> None:
    with pytest.raises(UsageError, match="nobody reads this pipe"):
        PolicyOutput(str(pipe), force=True)


def test_a_reader_that_comes_a_little_later_is_waited_for(
    pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egressmon.files.writing._READER_S", 60.0)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()

    descriptor = open_for_writing(str(pipe), 0)
    os.write(descriptor, b"first\n")
    os.close(descriptor)
    reader.join()

    assert got == [b"first\n"]


def test_what_is_written_goes_to_the_end_and_waits_for_room(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first\n")

    descriptor = open_for_writing(str(path), 0)
    os.write(descriptor, b"second\n")

    assert os.get_blocking(descriptor)
    os.close(descriptor)
    assert path.read_bytes() == b"first\nsecond\n"
