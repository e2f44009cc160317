"""When nobody watched, as the evidence says it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.clock import Clock
from egressmon.evidence.output import digest_of_line
from egressmon.evidence.records.lasting import ClockRecord, GapRecord
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.unended import Before, find_before
from egressmon.runs.lasting.gaps import Beats, gap_before

RUN = "20260101T000000Z-00000001"
LATER = "20260102T000000Z-00000002"
END = b'{"type":"run.end","time":"%s"}\n'
LAST = b'{"type":"heartbeat","time":"%s"}\n'
LONG_AGO = b"2001-01-01T00:00:00.000000001Z"


def put(folder: Path, run: str, number: int, content: bytes) -> None:
    (folder / f"{run}-{number:06}.jsonl").write_bytes(content)


def before(folder: Path) -> Before | None:
    opened = PlainFolder.at(str(folder))
    try:
        return find_before(opened)
    finally:
        opened.close()


def run_before(folder: Path) -> str | None:
    found = before(folder)
    if found is None:
        return None
    found.file.close()
    return found.run


def gap(folder: Path, *, was_left: bool = False) -> GapRecord | None:
    return gap_before(before(folder), Clock(), was_left=was_left)


def now() -> bytes:
    clock = Clock()
    return clock.rfc3339(clock.now_ns()).encode()


def test_a_run_that_was_killed_leaves_a_gap(tmp_path: Path) -> None:
    line = LAST % now()
    put(tmp_path, RUN, 1, b"{}\n" + line + b'{"type":"run.end","ti')

    found = gap(tmp_path)

    assert found is not None
    assert (found.before, found.doubt) == (RUN, True)
    assert found.before_head == digest_of_line(line[:-1])
    assert found.since is not None
    assert line[28:57].decode() in line.decode()
    assert found.since <= found.until


def test_after_a_start_of_the_machine_it_is_no_doubt(tmp_path: Path) -> None:
    put(tmp_path, RUN, 1, LAST % LONG_AGO)

    found = gap(tmp_path)

    assert found is not None
    assert (found.since, found.doubt) == (LONG_AGO.decode(), False)


def test_a_run_that_ended_leaves_none(tmp_path: Path) -> None:
    put(tmp_path, RUN, 1, LAST % now())
    put(tmp_path, LATER, 1, LAST % now())
    put(tmp_path, LATER, 2, END % now())

    assert gap(tmp_path) is None
    assert gap(tmp_path / "..") is None


def test_where_a_socket_was_left_there_is_one_without_evidence(tmp_path: Path) -> None:
    found = gap(tmp_path, was_left=True)

    assert found is not None
    assert (found.since, found.before, found.doubt) == (None, None, True)


def test_a_run_that_goes_on_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, RUN, 1, LAST % now())
    folder = PlainFolder.at(str(tmp_path))
    with folder.open_next(f"{LATER}-000001.jsonl"):
        assert run_before(tmp_path) == RUN
    folder.close()
    put(tmp_path, LATER, 1, b"{}\n")
    assert run_before(tmp_path) == LATER


def test_the_file_before_an_empty_one_is_read(tmp_path: Path) -> None:
    put(tmp_path, RUN, 1, LAST % now())
    put(tmp_path, RUN, 2, b"")

    found = gap(tmp_path)

    assert found is not None
    assert found.before_head is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"no end",
        b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
        b"x" * 300_000 + b"\n",
        b'{"type":"heartbeat"}\n',
        b'{"type":["run.end"],"time":{}}\n',
        LAST % b"9999-99-99T99:99:99.999999999Z",
        LAST % b"2026-01-01T00:00:00.00000000\xd9\xa1Z",
        LAST % (b"0" * 1000),
    ],
)
def test_whatever_the_last_line_is_it_was_no_end(
    tmp_path: Path, content: bytes
) -> None:
    put(tmp_path, RUN, 1, content)
    if not content:  # such a run did not begin
        assert run_before(tmp_path) is None
        return

    found = gap(tmp_path)

    assert found is not None
    assert (found.since, found.doubt, found.before) == (None, True, RUN)


def test_a_start_that_failed_hides_no_run(tmp_path: Path) -> None:
    put(tmp_path, RUN, 1, LAST % now())
    put(tmp_path, LATER, 1, b"")

    assert run_before(tmp_path) == RUN


def test_other_files_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / f"{RUN}-000001.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / f"{'r' * 200}-000001.jsonl").write_text("")

    assert run_before(tmp_path) is None


class Hands:
    """Clocks that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.awake_ns, self.boot_ns, self.wall_ns = 0, 10**12, 1_800_000_000 * 10**9
        monkeypatch.setattr(time, "clock_gettime_ns", self.now_ns)
        monkeypatch.setattr(time, "time_ns", lambda: self.wall_ns)

    def go_on(self, seconds: int) -> None:
        self.sleep(seconds)
        self.awake_ns += seconds * 10**9

    def sleep(self, seconds: int) -> None:
        self.boot_ns += seconds * 10**9
        self.wall_ns += seconds * 10**9

    def now_ns(self, _: int) -> int:
        return self.boot_ns

    def now_s(self) -> float:
        return self.awake_ns / 10**9


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_a_heartbeat_in_time_tells_of_nothing(hands: Hands) -> None:
    beats = Beats(10, Clock(), hands.now_s)
    assert not beats.is_due()
    hands.go_on(29)
    assert beats.is_due()
    assert [*beats.begin()] == []


@pytest.mark.parametrize(
    ("passes", "doubt", "why"),
    [(Hands.go_on, True, "stopped, or starved"), (Hands.sleep, False, "suspended")],
)
def test_silence_is_a_gap(
    hands: Hands, passes: Callable[[Hands, int], None], *, doubt: bool, why: str
) -> None:
    clock = Clock()
    beats = Beats(10, clock, hands.now_s)
    began = clock.rfc3339(clock.now_ns())
    passes(hands, 100)

    (found,) = beats.begin()

    assert isinstance(found, GapRecord)
    assert found.doubt is doubt
    assert why in found.reason
    assert "100 s" in found.reason
    assert found.since == began
    assert found.until == clock.rfc3339(clock.now_ns())
    assert [*beats.begin()] == []


def test_a_clock_that_is_set_is_recorded_and_changes_no_time(hands: Hands) -> None:
    clock = Clock()
    beats = Beats(10, clock, hands.now_s)
    times = [clock.rfc3339(clock.now_ns())]
    found: list[object] = []
    for jump_s in (3600, -7200, 3600, 0):
        hands.go_on(10)
        hands.wall_ns += jump_s * 10**9
        found += beats.begin()
        times.append(clock.rfc3339(clock.now_ns()))

    hour_ms = 3_600_000
    assert found == [
        ClockRecord("ahead", hour_ms),
        ClockRecord("behind", hour_ms),
        ClockRecord("behind", 0),
    ]
    assert times == sorted(times)
    assert [one[14:19] for one in times] == [
        "00:00",
        "00:10",
        "00:20",
        "00:30",
        "00:40",
    ]
