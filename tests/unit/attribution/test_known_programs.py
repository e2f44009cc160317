"""A program that ran before is looked at where it was, and only if it is the same."""

import os
from pathlib import Path

import pytest

from egressmon import files
from egressmon.attribution.executables import Executables
from egressmon.events.model import PRELOAD_NONE, Executed
from egressmon.files import Kind
from egressmon.files.beginning import CHANGED, ELSEWHERE, Beginning

HERE = tuple(Path(f"/proc/self/ns/{kind}").stat().st_ino for kind in ("mnt", "user"))
PLACE = 7


class Asked:
    """Opens /proc/100/exe, and counts it."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.count = 0

    def open(self, path: bytes, kind: Kind) -> int:
        if path != b"/proc/100/exe":
            raise FileNotFoundError
        self.count += 1
        return files.open_here(os.fsencode(self.program), kind)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.touch()
    return program


@pytest.fixture
def asked(program: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked(program)
    monkeypatch.setattr(files, "_opener", asked)
    return asked


@pytest.fixture
def executables(program: Path) -> Executables:  # noqa: ARG001 -- older than the run
    beginning = Beginning()
    beginning._began_ns += 1_000_000_000  # noqa: SLF001 -- as if it began later
    return Executables(beginning, proc_is_ours=True)


def executed(
    file: Path, place: int = PLACE, mounts: int = HERE[0], path: str | None = None
) -> Executed:
    status = file.stat()
    given = path or str(file)
    return Executed(1, 100, 1, 1, 0, "x", given, status.st_ino, status.st_dev,
                    mounts, HERE[1], PRELOAD_NONE, b"", 0, 0, place)  # fmt: skip


def test_the_process_is_asked_once(
    executables: Executables, asked: Asked, program: Path
) -> None:
    for _ in range(3):
        files.begin_batch()
        assert executables.of(executed(program)) == (str(program), None)

    assert asked.count == 1
    known = executables.known_status(executed(program))
    assert known is not None
    assert known.st_ino == program.stat().st_ino


# Where the kernel mapped it from counts as well as what execve(2) was given.
@pytest.mark.parametrize(("mapped", "count"), [(True, 1), (False, 2)])
def test_what_ran_by_another_path_is_asked_for(
    executables: Executables, asked: Asked, program: Path, *, mapped: bool, count: int
) -> None:
    executables.of(executed(program))
    event = executed(program, path="./program")
    found = executables.of(event, str(program) if mapped else None)

    assert found == (str(program), None)
    assert asked.count == count


@pytest.mark.parametrize("place", [0, PLACE + 1])
def test_another_place_is_asked_for(
    executables: Executables, asked: Asked, program: Path, place: int
) -> None:
    executables.of(executed(program))
    assert executables.of(executed(program, place))[0] == str(program)

    assert asked.count == 2


def test_what_has_another_view_is_asked_for(
    executables: Executables, asked: Asked, program: Path
) -> None:
    executables.of(executed(program))
    found = executables.of(executed(program, mounts=1))

    assert found == (str(program), ELSEWHERE)
    assert asked.count == 2


def test_a_change_is_a_claim_at_the_next_look(
    executables: Executables, asked: Asked, program: Path
) -> None:
    executables.of(executed(program))
    files.begin_batch()
    os.utime(program, (0, 0))
    executables._beginning._began_ns = program.stat().st_ctime_ns  # noqa: SLF001

    assert executables.of(executed(program)) == (str(program), CHANGED)
    assert asked.count == 1


def test_another_file_at_the_path_is_not_taken_for_it(
    executables: Executables, asked: Asked, program: Path, tmp_path: Path
) -> None:
    event = executed(program)
    executables.of(event)
    files.begin_batch()
    program.rename(tmp_path / "moved")
    program.touch()
    asked.program = tmp_path / "moved"

    assert executables.known_status(event) is None
    assert executables.of(event)[0] == str(tmp_path / "moved")
    assert asked.count == 2
