"""The keeper makes the files of its own run, and the agent gets no others."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from egressmon.clock import Clock
from egressmon.evidence.manifest import Manifest, Segment, segment_name
from egressmon.evidence.records.running import LossRecord
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.segmented import SegmentedEvidence
from egressmon.evidence.segments import Segments
from egressmon.keeping.keeper import Keeper
from egressmon.keeping.keeper_client import KeeperClient
from egressmon.keeping.protocol import FIRST, LAST, MAX_MANIFEST, MAX_SEGMENTS
from egressmon.keeping.segments import KeeperFolder, RunFolder
from egressmon.keeping.setup import KeeperSetup

RUN = "20261127T220000Z-0123abcd"
LOSS = LossRecord("lost_flow", 3, "connections are missing")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run whose first segment is there."""
    plain = PlainFolder.at(str(tmp_path))
    plain.open_next(segment_name(RUN, 1)).close()
    return RunFolder(plain, RUN)


def test_segments_are_made_one_after_the_other(
    folder: RunFolder, tmp_path: Path
) -> None:
    for number in (2, 3):
        with folder.open_next(number) as file:
            os.write(file.fileno(), b"%d" % number)
    with folder.open_again(2) as file:
        assert file.read(9) == b"2"
    made = sorted(one.name for one in tmp_path.iterdir())
    assert made == [segment_name(RUN, number) for number in (1, 2, 3)]


@pytest.mark.parametrize("number", [0, 1, 3, 999_999, 2**32 - 1])
def test_none_is_made_but_the_next(folder: RunFolder, number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        folder.open_next(number)


@pytest.mark.parametrize("number", [0, 2, 2**32 - 1])
def test_none_is_opened_again_that_was_not_made(
    folder: RunFolder, tmp_path: Path, number: int
) -> None:
    (tmp_path / segment_name(RUN, number or 7)).write_text("another's")
    with pytest.raises(ValueError, match=str(number)):
        folder.open_again(number)


def test_what_was_put_there_is_not_written_to(
    folder: RunFolder, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    (tmp_path / segment_name(RUN, 2)).symlink_to(victim)
    with pytest.raises(FileExistsError):
        folder.open_next(2)
    assert not victim.exists()


def test_there_are_no_more_than_the_manifest_has_room_for(
    folder: RunFolder,
) -> None:
    for number in range(2, MAX_SEGMENTS + 1):
        folder.open_next(number).close()
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        folder.open_next(MAX_SEGMENTS + 1)

    digest, many = f"blake3:{'0' * 64}", 10**12
    segments = tuple(
        Segment(
            one, segment_name("r" * 100, one), many, many, digest, many, many, digest
        )
        for one in range(1, MAX_SEGMENTS + 1)
    )
    assert len(Manifest(RUN, complete=True, segments=segments).text()) <= MAX_MANIFEST


def test_a_manifest_comes_in_pieces(folder: RunFolder, tmp_path: Path) -> None:
    manifest = tmp_path / f"{RUN}.manifest.json"
    folder.take(FIRST, b"lost")
    folder.take(FIRST, b"one,")
    folder.take(0, b"two,")
    assert not manifest.exists()
    folder.take(LAST, b"three")
    assert manifest.read_bytes() == b"one,two,three"
    assert manifest.stat().st_mode & 0o777 == 0o640
    folder.take(FIRST | LAST, b"whole")
    assert manifest.read_bytes() == b"whole"


def test_a_manifest_is_bounded_and_begins_at_its_beginning(
    folder: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no manifest was begun"):
        folder.take(LAST, b"rest")
    folder.take(FIRST, b"x" * MAX_MANIFEST)
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        folder.take(0, b"x")
    with pytest.raises(ValueError, match="no manifest was begun"):
        folder.take(LAST, b"")
    assert not (tmp_path / f"{RUN}.manifest.json").exists()


def test_a_run_that_did_not_begin_leaves_nothing(
    folder: RunFolder, tmp_path: Path
) -> None:
    folder.take(FIRST | LAST, b"{}")
    folder.forget_run()
    assert [*tmp_path.iterdir()] == []


def test_a_run_that_began_is_not_forgotten(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / segment_name(RUN, 1)).write_text("{}\n")
    folder.take(FIRST | LAST, b"{}")
    folder.forget_run()
    assert len([*tmp_path.iterdir()]) == 2


def test_who_let_go_of_the_folder_can_do_nothing_there(
    folder: RunFolder, tmp_path: Path
) -> None:
    folder.let_go()
    folder.let_go()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        folder.open_next(2)
    folder.forget_run()
    assert (tmp_path / segment_name(RUN, 1)).exists()


class Served(Keeper):
    """A keeper of nothing but a folder."""

    def __init__(self, folder: RunFolder | None, connection: socket.socket) -> None:
        setup = object.__new__(KeeperSetup)
        object.__setattr__(setup, "segments", folder)
        object.__setattr__(setup, "engine", type("Engine", (), {"parts": []}))
        super().__init__(setup, connection)

    def serve_all(self) -> None:
        """Answer until nobody asks."""
        while self._serve_next():
            pass


@contextmanager
def served(folder: RunFolder | None) -> Generator[KeeperClient]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        thread = threading.Thread(target=Served(folder, ours).serve_all)
        thread.start()
        yield KeeperClient(theirs)
        theirs.close()
        thread.join()


def test_evidence_is_written_by_who_has_no_right_to_the_folder(tmp_path: Path) -> None:
    plain = PlainFolder.at(str(tmp_path))
    segments = Segments(plain, RUN, max_bytes=900)
    evidence = SegmentedEvidence(segments, Clock())
    with served(RunFolder(plain, RUN)) as keeper:
        segments.hand_over(KeeperFolder(keeper))
        for _ in range(100):  # the manifest takes more than one request
            evidence.write(LOSS, 1)
        assert evidence.examine() == "whole"
        (tmp_path / segment_name(RUN, 3)).write_text("changed\n")
        assert evidence.examine() == "changed"
        (tmp_path / segment_name(RUN, 3)).unlink()
        assert evidence.examine() == "replaced"
        evidence.close()
    assert evidence.failure is None
    made = sorted(one.name for one in tmp_path.glob(f"{RUN}-*"))
    assert len(made) > 20
    manifest = (tmp_path / f"{RUN}.manifest.json").read_bytes()
    assert len(manifest) > 8192
    assert made[-1].encode() in manifest


ASKING: list[Callable[[KeeperClient], object]] = [
    lambda keeper: keeper.open_segment(2),
    lambda keeper: keeper.reopen_segment(1),
    lambda keeper: keeper.replace_manifest(b"{}"),
]


@pytest.mark.parametrize("ask", ASKING)
def test_the_keeper_of_another_run_refuses(
    ask: Callable[[KeeperClient], object],
) -> None:
    with (
        served(None) as keeper,
        pytest.raises(OSError, match=os.strerror(errno.EINVAL)),
    ):
        ask(keeper)


@pytest.mark.parametrize("name", ["../x.jsonl", "x", f"{RUN}-000000.jsonl"])
def test_names_of_no_segment_are_not_asked_for(name: str) -> None:
    with served(None) as keeper:
        folder = KeeperFolder(keeper)
        for opened in (folder.open_next, folder.open_again):
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                opened(name)
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            folder.replace(name, b"{}")
