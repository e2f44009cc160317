"""Find the evidence below what the user named, and which files are of one run."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from egressmon.errors import UsageError
from egressmon.evidence.gate import MAX_RECORD
from egressmon.files.bounded import open_regular
from egressmon.locking.form import MAX_FILES
from egressmon.reading.lines import Line, LineError
from egressmon.values import dataclass
from egressmon.verifying.sequence.envelope import head_of
from egressmon.verifying.sequence.parts import first_of

_BEGINS = b'{"schema":"egressmon/'
_ENDING = ".jsonl"


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one run's evidence, in their order."""

    paths: tuple[str, ...]
    run: str
    """What the run is called; the path, where the first line does not say it."""
    began: str
    """When its first line was written; "" where that does not say it."""
    problems: tuple[str, ...] = ()
    """Why they are not all, or not of one run."""


class _Found(NamedTuple):
    number: int
    """Which segment it is, from 1."""
    path: str
    time: str


def runs_at(paths: Sequence[str]) -> list[Files]:
    """Return the runs whose evidence is at `paths`, in the order in which they began.

    A path is a file, or a folder with some. Raises UsageError for what cannot be read
    or holds no evidence.
    """
    runs: dict[str, list[_Found]] = {}
    met: set[tuple[int, int]] = set()
    for path in paths:
        for file in _below(path):
            identity, line = _first(file)
            if identity in met:
                continue
            met.add(identity)
            first = first_of(line)
            run = first.run if first is not None else file
            number = (first.number if first is not None else None) or 1
            runs.setdefault(run, []).append(_Found(number, file, _time(line)))
    files = [_in_order(run, sorted(found)) for run, found in runs.items()]
    return sorted(files, key=lambda one: (one.began, one.run))


def is_whole(files: Files) -> bool:
    """Tell whether the last line says that the run ended, and is complete.

    Raises UsageError if it cannot be read.
    """
    path = files.paths[-1]
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - MAX_RECORD - 2))
            data = file.read(MAX_RECORD + 2)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    *_, last, rest = [b"", *data.split(b"\n")]
    try:
        record = Line(1, last, is_ended=True).record()
    except LineError:
        return False
    is_end = record["type"] == "run.end" and record.get("complete") is True
    return is_end and not rest and not files.problems


def _in_order(run: str, found: list[_Found]) -> Files:
    problems: list[str] = []
    for place, one in enumerate(found, 1):
        if one.number != place:
            what = f"segment {place} of the run {run} is missing before it"
            if one.number < place:
                what = f"the run {run} is there twice"
            problems.append(f"{one.path}: {what}")
            break
    paths = tuple(one.path for one in found)
    return Files(paths, run, found[0].time, tuple(problems))


def _time(line: bytes) -> str:
    head = head_of(line.partition(b',"prev":')[0])
    return head.time if head is not None else ""


def _below(path: str) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112 -- False where it may not be asked
        yield path
        return
    count = 0
    for file in _files(path):
        count += 1
        yield file
    if not count:
        raise UsageError(
            f"{path} has no evidence in it",
            "name a file that `--evidence` wrote, or a directory with some",
        )


# Links are not followed: they lead out of the directory, or around in it.
def _files(path: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise _unreadable(error.filename or path, error)

    count = 0
    for folder, folders, names in os.walk(path, onerror=fail):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                raise UsageError(
                    f"{path} has more than {MAX_FILES} files", "name fewer at once"
                )
            file = Path(folder, name)
            if name.endswith(_ENDING) and _is_evidence(file):
                yield str(file)


def _is_evidence(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    _, beginning = _beginning(str(path), len(_BEGINS))
    return beginning in {_BEGINS, b""}  # an empty one is of a run that was ended early


def _first(path: str) -> tuple[tuple[int, int], bytes]:
    identity, beginning = _beginning(path, MAX_RECORD + 2)
    return identity, beginning.partition(b"\n")[0]


def _beginning(path: str, size: int) -> tuple[tuple[int, int], bytes]:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            status = os.fstat(file.fileno())
            return (status.st_dev, status.st_ino), file.read(size)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error)
    return UsageError(
        f"{path} cannot be read: {reason}",
        "name a file that `--evidence` wrote, or a directory with some",
    )
