"""Evidence in segments is one chain, and goes on after the disk was full."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.evidence.manifest import named, parse
from egressmon.evidence.output import Output
from egressmon.evidence.place import digest_of_file
from egressmon.evidence.records.actors import ActorRecord
from egressmon.evidence.records.code import StackRecord
from egressmon.evidence.records.running import LossRecord, RunEnd
from egressmon.evidence.rendering import Rendered, render
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.segmented import SegmentedEvidence
from egressmon.evidence.segments import Segments
from egressmon.evidence.writer import Evidence, open_evidence
from egressmon.values import replace

LOSS = LossRecord("lost_flow", 3, "connections are missing")
END = RunEnd(
    "clean", True, [], {}, {}, 0, {}, 0, 0, 0, 0, 0, {}, "whole", 0, 0, 0, None, 0,
    [], 1, {},
)  # fmt: skip
_settings = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Json = dict[str, Any]


class Time:
    """A clock that goes on only if somebody has it go on."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(
    folder: Path, *, max_bytes: int = 900, time: Time | None = None, **more: Any
) -> SegmentedEvidence:
    plain = more.pop("by", None) or PlainFolder.at(str(folder))
    segments = Segments(
        plain, "run-1", max_bytes=max_bytes, now_s=time or Time(), **more
    )
    return SegmentedEvidence(segments, Clock())


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("run-1-*.jsonl"))


def records(folder: Path) -> list[Json]:
    return [
        json.loads(line)
        for path in files(folder)
        for line in path.read_bytes().splitlines()
    ]


def assert_chained(folder: Path) -> None:
    prev: str | None = None
    number = 0
    for path in files(folder):
        data = path.read_bytes()
        assert data == b"" or data.endswith(b"\n")
        for line in data.splitlines():
            record = json.loads(line)
            assert (record["seq"], record["prev"]) == (number, prev)
            prev = "blake3:" + blake3(line).hexdigest()
            number += 1


def manifest(folder: Path) -> Json:
    data = (folder / "run-1.manifest.json").read_bytes()
    assert parse(data).text() == data
    found: Json = json.loads(data)
    return found


class Disk:
    """Has writes fail as on a disk with so much room; None: enough for all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.error = errno.ENOSPC
        self._write = os.write
        monkeypatch.setattr("egressmon.evidence.output.os.write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        count = self._write(fd, data[: self.room])
        self.room -= count
        return count


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_segment_follows_on_the_one_before(tmp_path: Path) -> None:
    evidence = opened(tmp_path)
    for number in range(9):
        assert evidence.write(LOSS, number)
    assert evidence.put(render(END), 10)
    assert evidence.examine() == "whole"
    evidence.close()

    assert evidence.failure is None
    assert_chained(tmp_path)
    first, second, *_ = files(tmp_path)
    begin = json.loads(second.read_bytes().splitlines()[0])
    assert (begin["type"], begin["number"]) == ("segment", 2)
    assert begin["before"] == first.name
    assert begin["before_digest"] == f"blake3:{blake3(first.read_bytes()).hexdigest()}"
    assert begin["before_records"] == len(first.read_bytes().splitlines())
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o640}


def test_the_manifest_lists_each_segment(tmp_path: Path) -> None:
    evidence = opened(tmp_path)
    assert manifest(tmp_path) == {
        "schema": "egressmon-manifest/1", "run": "run-1", "complete": False,
        "segments": [],
    }  # fmt: skip
    for number in range(9):
        evidence.write(LOSS, number)
    paths = files(tmp_path)
    assert [one["file"] for one in manifest(tmp_path)["segments"]] == [
        path.name for path in paths[:-1]
    ]
    evidence.put(render(END), 10)
    evidence.close()

    found = manifest(tmp_path)
    assert found["complete"] is True
    seq = 0
    for number, (path, one) in enumerate(
        zip(files(tmp_path), found["segments"], strict=True), 1
    ):
        lines = path.read_bytes().splitlines()
        assert one == {
            "number": number,
            "file": path.name,
            "records": len(lines),
            "bytes": path.stat().st_size,
            "blake3": f"blake3:{blake3(path.read_bytes()).hexdigest()}",
            "first_seq": seq,
            "last_seq": seq + len(lines) - 1,
            "head": f"blake3:{blake3(lines[-1]).hexdigest()}",
        }
        seq += len(lines)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        [path.name for path in files(tmp_path)] + ["run-1.manifest.json"]
    )


def test_without_an_end_the_manifest_is_not_complete(tmp_path: Path) -> None:
    evidence = opened(tmp_path)
    evidence.write(LOSS, 1)
    evidence.close()
    evidence.close()

    assert manifest(tmp_path)["complete"] is False
    assert len(manifest(tmp_path)["segments"]) == 1


def test_a_segment_ends_with_its_age(tmp_path: Path) -> None:
    time = Time()
    evidence = opened(tmp_path, max_bytes=1 << 20, time=time, max_age_s=60)
    evidence.write(LOSS, 1)
    time.now_s += 59
    evidence.write(LOSS, 2)
    assert len(files(tmp_path)) == 1
    time.now_s += 1
    assert evidence.write(LOSS, 3)
    assert len(files(tmp_path)) == 2
    time.now_s += 600  # and none begins because of the end
    evidence.put(render(END), 4)
    evidence.close()
    assert len(files(tmp_path)) == 2


def test_gathered_lines_are_in_the_segment_of_their_time(tmp_path: Path) -> None:
    evidence = opened(tmp_path)
    with evidence.gathering():
        for number in range(30):
            evidence.write(LOSS, number)
    evidence.close()
    assert len(files(tmp_path)) > 3
    assert_chained(tmp_path)


class Refusing(PlainFolder):
    """A folder in which files can be made only while `refuses` is None."""

    refuses: OSError | None = None

    def open_next(self, name: str) -> IO[bytes]:
        if self.refuses is not None:
            raise self.refuses
        return super().open_next(name)

    def replace(self, name: str, data: bytes) -> None:
        if self.refuses is not None:
            raise self.refuses
        super().replace(name, data)


def test_if_no_segment_can_be_opened_the_one_before_goes_on(tmp_path: Path) -> None:
    time, folder = Time(), Refusing.at(str(tmp_path))
    evidence = opened(tmp_path, time=time, by=folder)
    folder.refuses = OSError(errno.EACCES, "no")
    for number in range(20):
        assert evidence.write(LOSS, number)
    assert len(files(tmp_path)) == 1
    folder.refuses = None
    evidence.write(LOSS, 21)
    assert len(files(tmp_path)) == 1
    time.now_s += 60
    evidence.write(LOSS, 22)
    assert len(files(tmp_path)) == 2
    evidence.put(render(END), 23)
    evidence.close()
    assert evidence.failure is None
    assert_chained(tmp_path)


def test_a_manifest_that_cannot_be_written_at_the_end_is_said(tmp_path: Path) -> None:
    folder = Refusing.at(str(tmp_path))
    evidence = opened(tmp_path, by=folder)
    evidence.put(render(END), 1)
    folder.refuses = OSError(errno.EACCES, "no")
    evidence.close()
    assert evidence.failure == "no"


def test_no_file_that_is_there_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / "run-1-000002.jsonl").symlink_to(tmp_path / "elsewhere")
    evidence = opened(tmp_path)
    for number in range(20):
        assert evidence.write(LOSS, number)
    evidence.close()
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"

    (tmp_path / "run-2-000001.jsonl").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        Segments(PlainFolder.at(str(tmp_path)), "run-2")


def stack(number: int) -> Rendered:
    """Return a record that refers to two values."""
    values = (
        StackRecord(f"{number:032}", ["f"], [(0, 0, number)], 0),
        ActorRecord(f"{number + 1:032}", 1, 0, 0, "x", [], False, [], None),
    )
    return replace(render(LOSS), values=values)


def plain(folder: Path, made: list[Rendered]) -> list[Json]:
    """Return what is in one file of these records."""
    path = folder / "plain.jsonl"
    evidence = Evidence(open_evidence(str(path)), "run-1", Clock(), None)
    for number, one in enumerate(made):
        evidence.put(one, number)
    evidence.close()
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.unlink()
    return found


def content(record: Json) -> str:
    """Return the record without what differs by its place."""
    kept = {k: v for k, v in record.items() if k not in {"seq", "prev", "time"}}
    return json.dumps(kept)


@_settings
@given(
    numbers=st.lists(st.integers(-1, 6), min_size=1, max_size=40),
    max_bytes=st.integers(1, 3000),
    gathers=st.booleans(),
)
def test_joined_segments_have_the_records_of_one_file(
    tmp_path: Path,
    numbers: list[int],
    max_bytes: int,
    gathers: bool,  # noqa: FBT001
) -> None:
    for path in [*files(tmp_path), tmp_path / "run-1.manifest.json"]:
        path.unlink(missing_ok=True)
    made = [render(LOSS) if one < 0 else stack(one) for one in numbers]
    evidence = opened(tmp_path, max_bytes=max_bytes)

    def put() -> None:
        for number, one in enumerate(made):
            assert evidence.put(one, number)

    if gathers:
        with evidence.gathering():
            put()
    else:
        put()
    assert evidence.examine() == "whole"
    evidence.close()

    assert_chained(tmp_path)
    known: set[str] = set()
    joined: list[str] = []
    for path in files(tmp_path):
        here: set[str] = set()
        lines = path.read_bytes().splitlines()
        for index, line in enumerate(lines):
            record = json.loads(line)
            assert (record["type"] == "segment") is (
                index == 0 and path != files(tmp_path)[0]
            )
            if "digest" in record:
                assert record["digest"] not in here  # once in each
                here.add(record["digest"])
                if record["digest"] in known:
                    continue
                known.add(record["digest"])
            if record["type"] != "segment":
                joined.append(content(record))
        assert len(here) <= len(lines)
    assert joined == [content(one) for one in plain(tmp_path, made)]


def test_values_are_in_each_segment_that_refers_to_them(tmp_path: Path) -> None:
    evidence = opened(tmp_path, max_bytes=1200)
    for number in range(12):
        evidence.put(stack(1), number)
    evidence.close()
    assert len(files(tmp_path)) > 2
    for path in files(tmp_path):
        kinds = [json.loads(line)["type"] for line in path.read_bytes().splitlines()]
        assert kinds.count("stack") == kinds.count("actor") == 1


@pytest.mark.parametrize("room", [0, 1, 200, 500, 700, 1000])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_loses_what_it_does_not_take_and_no_more(
    tmp_path: Path, disk: Disk, room: int, code: int
) -> None:
    time = Time()
    evidence = opened(tmp_path, max_bytes=1 << 20, time=time)
    disk.error = code
    written = [evidence.write(LOSS, 1)]
    disk.room = room
    written += [evidence.write(LOSS, number) for number in range(20)]
    assert_chained(tmp_path)  # no half line stays
    assert evidence.examine() == "whole"
    disk.room = None
    written.append(evidence.write(LOSS, 30))  # too soon
    time.now_s += 1
    written.append(evidence.write(LOSS, 31))
    assert evidence.put(render(END), 32)
    evidence.close()

    assert_chained(tmp_path)
    found = records(tmp_path)
    losses = [one for one in found if one.get("where") == "evidence"]
    assert [one["count"] for one in losses] == [evidence.lost] == [written.count(False)]
    assert os.strerror(code) in losses[0]["consequence"]
    assert found[-3:-1] == [losses[0], found[-2]]
    assert sum(one.get("where") == "lost_flow" for one in found) == written.count(True)
    assert found[-1]["type"] == "run.end"
    assert evidence.failure is None
    assert manifest(tmp_path)["complete"] is True


def test_nothing_is_tried_at_once_again(tmp_path: Path, disk: Disk) -> None:
    time = Time()
    evidence = opened(tmp_path, time=time)
    disk.room = 0
    evidence.write(LOSS, 1)
    disk.room = None
    for number in range(5):
        assert not evidence.write(LOSS, number)
    assert evidence.records == 0
    time.now_s += 1
    assert evidence.write(LOSS, 6)
    evidence.close()
    assert [one["count"] for one in records(tmp_path)] == [6, 3]


def test_another_error_is_final(tmp_path: Path, disk: Disk) -> None:
    time = Time()
    evidence = opened(tmp_path, time=time)
    disk.room, disk.error = 0, errno.EBADF
    evidence.write(LOSS, 1)
    disk.room = None
    time.now_s += 100
    evidence.write(LOSS, 2)
    assert evidence.examine() == "unchecked"
    evidence.close()
    assert evidence.failure == os.strerror(errno.EBADF)
    assert records(tmp_path) == []
    assert manifest(tmp_path)["complete"] is False


def test_what_was_lost_is_referred_to_by_nothing(tmp_path: Path, disk: Disk) -> None:
    time = Time()
    evidence = opened(tmp_path, max_bytes=1 << 20, time=time)
    evidence.write(LOSS, 0)
    disk.room = 300  # the first value, and not the second
    assert not evidence.put(stack(1), 1)
    disk.room = None
    time.now_s += 1
    assert evidence.put(stack(1), 2)
    evidence.close()
    kinds = [one["type"] for one in records(tmp_path)]
    assert kinds == ["loss", "stack", "loss", "stack", "actor", "loss"]


@pytest.mark.parametrize("room", [0, 100, 340, 700])
def test_a_disk_that_is_full_at_a_switch(tmp_path: Path, disk: Disk, room: int) -> None:
    time = Time()
    evidence = opened(tmp_path, time=time)
    while len(files(tmp_path)) < 2:
        evidence.write(LOSS, 1)
        if (tmp_path / "run-1-000001.jsonl").stat().st_size >= 900:
            disk.room = room
    for _ in range(5):
        evidence.write(LOSS, 2)
    disk.room = None
    time.now_s += 1
    assert evidence.write(LOSS, 3)
    assert evidence.examine() == "whole"
    evidence.put(render(END), 4)
    evidence.close()

    assert_chained(tmp_path)
    for path in files(tmp_path)[1:]:
        kinds = [json.loads(line)["type"] for line in path.read_bytes().splitlines()]
        assert kinds[0] == "segment"
        assert kinds.count("segment") == 1
    found = records(tmp_path)
    assert sum(o["count"] for o in found if o.get("where") == "evidence") == (
        evidence.lost
    )


def test_the_reserve_is_freed_for_the_end(tmp_path: Path, disk: Disk) -> None:
    plain = PlainFolder.at(str(tmp_path))
    reserve = plain.open_reserve(8192)
    blocks = os.fstat(reserve.fileno()).st_blocks
    assert blocks * 512 >= 8192
    truncate = reserve.truncate

    class Freed:
        """Gives room on the disk as it is cut."""

        def truncate(self, size: int) -> None:
            truncate(size)
            disk.room = 8192

        def close(self) -> None:
            reserve.close()

    evidence = opened(tmp_path, by=plain, reserve=Freed())
    evidence.write(LOSS, 1)
    disk.room = 0
    for number in range(3):
        assert not evidence.write(LOSS, number)
    assert evidence.put(render(END), 9)
    evidence.close()

    assert [one["type"] for one in records(tmp_path)] == ["loss", "loss", "run.end"]
    assert records(tmp_path)[1]["count"] == 3
    assert evidence.failure is None
    assert manifest(tmp_path)["complete"] is True
    assert not [one for one in tmp_path.iterdir() if "reserve" in one.name]


@pytest.mark.parametrize("has_end", [True, False])
def test_an_end_that_cannot_be_written_is_said(
    tmp_path: Path,
    disk: Disk,
    has_end: bool,  # noqa: FBT001
) -> None:
    evidence = opened(tmp_path)
    evidence.write(LOSS, 1)
    disk.room = 10
    evidence.write(LOSS, 2)
    if has_end:
        assert not evidence.put(render(END), 9)
    evidence.close()
    assert evidence.failure == os.strerror(errno.ENOSPC)
    assert_chained(tmp_path)
    assert manifest(tmp_path)["complete"] is False


def test_a_reserve_for_which_there_is_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("egressmon.evidence.segment_folder.os.posix_fallocate", refuse)
    with pytest.raises(EvidenceError, match="full"):
        PlainFolder.at(str(tmp_path)).open_reserve()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "none", "nul\0"):
        with pytest.raises(EvidenceError, match="cannot be written"):
            PlainFolder.at(str(tmp_path / name))


def _replace(path: Path) -> None:
    other = path.with_suffix(".other")  # there first: with another inode
    other.write_bytes(path.read_bytes())
    other.replace(path)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"lost_flow", b"lost_wolf"))


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"{}\n")


def _truncate(path: Path) -> None:
    os.truncate(path, 10)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize(
    ("change", "state"),
    [
        (Path.unlink, "replaced"),
        (_replace, "replaced"),
        (_link, "replaced"),
        (_fifo, "replaced"),
        (_change, "changed"),
        (_append, "changed"),
        (_truncate, "changed"),
    ],
)
def test_what_somebody_does_to_any_segment_is_seen(
    tmp_path: Path, which: int, change: Callable[[Path], None], state: str
) -> None:
    evidence = opened(tmp_path)
    for number in range(9):
        evidence.write(LOSS, number)
    assert evidence.examine() == "whole"
    change(files(tmp_path)[which])
    assert evidence.examine() == state
    evidence.close()


def test_another_folder_at_the_path_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    evidence = opened(folder)
    evidence.write(LOSS, 1)
    shutil.copytree(folder, tmp_path / "other")
    folder.rename(tmp_path / "away")
    assert evidence.examine() == "replaced"
    (tmp_path / "other").rename(folder)
    assert evidence.examine() == "replaced"
    evidence.close()


_steps = st.one_of(
    st.integers(-1, 5),
    st.tuples(st.just("room"), st.none() | st.integers(0, 1500)),
    st.tuples(st.just("time"), st.sampled_from((0.5, 1.0))),
    st.tuples(st.just("gather"), st.booleans()),
)


@_settings
@given(steps=st.lists(_steps, max_size=60), max_bytes=st.integers(1, 3000))
def test_whatever_the_disk_does_the_chain_goes_on(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        disk, time = Disk(patch), Time()
        evidence = opened(folder, max_bytes=max_bytes, time=time)
        said = 0
        gathering = ExitStack()
        for number, step in enumerate(steps):
            match step:
                case int():
                    one = render(LOSS) if step < 0 else stack(step)
                    said += evidence.put(one, number)
                case ("room", room):
                    disk.room = room
                case ("time", seconds):
                    time.now_s += seconds
                case (_, starts):
                    gathering.close()
                    if starts:
                        gathering.enter_context(evidence.gathering())
                case _:
                    raise AssertionError(step)
        gathering.close()
        assert evidence.examine() == "whole"
        assert_chained(folder)
        disk.room = None
        assert evidence.put(render(END), len(steps))
        evidence.close()

    assert evidence.failure is None
    assert_chained(folder)
    assert manifest(folder)["complete"] is True
    found = records(folder)
    lost = sum(one["count"] for one in found if one.get("where") == "evidence")
    assert lost == evidence.lost
    puts = sum(isinstance(one, int) for one in steps)
    there = sum(one.get("where") == "lost_flow" for one in found)
    assert said >= there >= puts - lost
    for path in files(folder)[1:]:
        lines = path.read_bytes().splitlines()
        assert json.loads(lines[0])["type"] == "segment"


def test_cutting_makes_no_hole_in_a_file_that_others_cut_shorter(
    tmp_path: Path,
) -> None:
    path = tmp_path / "e"
    output = Output(path.open("ab", buffering=0), None)
    output.write([b"one", b"two"])
    os.truncate(path, 2)
    output.cut()
    output.close()
    assert path.read_bytes() == b"on"


def test_the_limit_is_that_of_all_segments(tmp_path: Path) -> None:
    segments = Segments(PlainFolder.at(str(tmp_path)), "run-1", max_bytes=600)
    evidence = SegmentedEvidence(segments, Clock(), 2000)
    written = [evidence.write(LOSS, number) for number in range(20)]
    evidence.put(render(END), 21)
    evidence.close()
    assert evidence.left_out == written.count(False)
    assert 0 < written.count(True) < 10
    assert records(tmp_path)[-1]["type"] == "run.end"
    assert_chained(tmp_path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("run-000001.jsonl", ("run", 1)),
        ("a-b-1000000.jsonl", ("a-b", 1000000)),
        ("run-0000001.jsonl", None),
        ("run-000000.jsonl", None),
        ("run-00001.jsonl", None),
        ("run-000001.jsonl.gz", None),
        ("20261127T000000Z-01234567.jsonl", None),
    ],
)
def test_which_names_are_those_of_segments(
    name: str, found: tuple[str, int] | None
) -> None:
    assert named(name) == found


def test_a_finished_segment_is_read_back_once_unless_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def digest(fd: int, size: int) -> bytes:
        read.append(size)
        return digest_of_file(fd, size)

    monkeypatch.setattr("egressmon.evidence.segments.digest_of_file", digest)
    time = Time()
    evidence = opened(tmp_path, time=time)
    while len(files(tmp_path)) < 4:
        evidence.write(LOSS, 1)
    time.now_s += 10
    assert evidence.examine() == "whole"
    assert len(read) == 4
    assert evidence.examine() == "whole"
    assert len(read) == 5  # the one that is written is read again
    second = files(tmp_path)[1]
    data = second.read_bytes()
    second.write_bytes(data[:-2] + b"]\n")
    assert evidence.examine() == "changed"
    second.write_bytes(data)
    assert evidence.examine() == "whole"
    evidence.close()
