"""What the kernel saw around the guard, as it is read from evidence of any kind."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from egressmon.testing import around
from egressmon.testing.around import evidence_of, lines_of, told

SCOPE = "egressmon-12-00ab34cd"


def connection(guard: str = "bypassed", **changed: Any) -> bytes:
    """Return a line of evidence of a connection."""
    record: dict[str, Any] = {
        "type": "connection",
        "protocol": "tcp",
        "dst": {"ip": "198.51.100.7", "port": 443, "names": []},
        "code": {
            "function": "call",
            "file": "client.py",
            "line": 3,
            "test": "test_it.py::test_a (call)",
        },
        "guard": guard,
        "guard_reason": "by route native",
    }
    return json.dumps(record | changed, separators=(",", ":")).encode() + b"\n"


def start(scope: str = SCOPE) -> str:
    """Return the first line of a run's evidence."""
    return json.dumps({"type": "run.start", "scope": f"/sys/fs/cgroup/{scope}"}) + "\n"


def test_each_test_is_named_with_what_it_reached() -> None:
    lines = lines_of(connection() * 2 + connection("passed"))

    said = (
        "test_it.py::test_a (call): around the guard, seen by the kernel: "
        "198.51.100.7:443/tcp (by route native; client.py:3 in call) (2 times)"
    )
    assert lines == [said]


def test_what_is_of_no_test_and_what_is_unknown_is_said() -> None:
    lines = lines_of(connection(code=None) + connection("unknown"))

    assert lines[0].startswith("outside of tests: around the guard")
    assert lines[1:] == ["1 connections of which the kernel's evidence cannot tell"]


def process(pid: int, parent: int, event: str = "fork") -> bytes:
    """Return a line of evidence of a process that began."""
    record = {"type": "process", "event": event, "pid": pid, "ppid": parent, "uid": 0}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def test_what_another_pytest_started_is_counted_and_not_told() -> None:
    tree = process(10, 9) + process(21, 20) + process(22, 21, "exec")
    began = process(20, 9)  # after others
    by = [connection(protocol=f"by{pid}", process={"pid": pid}) for pid in (10, 20, 22)]
    unknown = connection("unknown", process={"pid": 10})
    # Of one of which nothing is told it is not known, and a number may come again.
    odd = connection(protocol="by99", process={"pid": 99})
    again = process(10, 20) + connection(protocol="again", process={"pid": 10})

    first, *later = by
    evidence = tree + first + began + b"".join(later) + unknown + odd + again
    lines = lines_of(evidence, pid=20)

    told = [line.partition(":443/")[2].partition(" ")[0] for line in lines[:-1]]
    assert told == ["by20", "by22", "by99", "again"]
    assert lines[-1].startswith("1 connections around a guard by what this pytest did")


def test_all_is_told_where_this_process_is_not_in_the_evidence() -> None:
    tree = process(10, 9) + connection(process={"pid": 10})

    assert "seen by the kernel" in lines_of(tree, pid=77)[0]


def test_that_nothing_went_around_it_is_said() -> None:
    expected = ["the kernel saw no connection around the guard"]
    assert lines_of(connection("passed")) == expected


def test_what_is_no_evidence_does_no_harm() -> None:
    odd = [
        b'{"type":"connection"',
        b'["type":"connection"]' * 2,
        b"[" * 100_000 + b'"type":"connection"',
        connection(dst=[], code=7, protocol=None, guard_reason=[]),
        connection(guard=[]),  # type: ignore[arg-type]
        connection(guard="unknown", process=[]),
        connection(dst={"ip": "\x1b[31m", "names": [7], "port": "x"}),
    ]

    lines = lines_of(b"\n".join(odd))

    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)


def test_many_lines_are_cut_and_counted() -> None:
    made = [connection(protocol=f"p{one}") for one in range(60)]

    lines = lines_of(b"".join(made))

    assert len(lines) == 51
    assert lines[-1].startswith("10 more connections around the guard")


def test_the_evidence_of_this_run_is_found_there_or_above(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    folder = tmp_path / ".egressmon"
    folder.mkdir()
    (folder / "2.jsonl").write_text(start("egressmon-12-00ab34ce"))
    (folder / "1.jsonl").write_text(start())

    assert list(evidence_of(SCOPE, [below])) == [folder / "1.jsonl"]

    (below / "named.jsonl").write_text(start())
    (folder / "1.jsonl").unlink()
    assert list(evidence_of(SCOPE, [below])) == [below / "named.jsonl"]


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(start())
    (tmp_path / "link.jsonl").symlink_to("real")
    os.mkfifo(tmp_path / "pipe.jsonl")

    assert list(evidence_of(SCOPE, [tmp_path])) == []


def begun(pid: int = 77) -> bytes:
    """Return a line of evidence of a process."""
    return b'{"type":"process","pid":%d,"uid":0}\n' % pid


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be watched, where the process that began last is 77."""
    monkeypatch.setattr(around, "scope", lambda: SCOPE)
    monkeypatch.setattr(around, "_WAIT_S", 0.1)
    wanted = re.compile(rb'"type":"process",[^\n]*"pid":77,[^\n]*\n')
    monkeypatch.setattr(around, "_begun", lambda: wanted)


@pytest.mark.usefixtures("watched")
def test_a_file_that_only_says_to_be_of_the_run_hides_nothing(tmp_path: Path) -> None:
    first, folder = tmp_path / "first" / ".egressmon", tmp_path / ".egressmon"
    first.mkdir(parents=True)
    folder.mkdir()
    (first / "9.jsonl").write_text(start())
    (folder / "1.jsonl").write_bytes(start().encode() + connection() + begun())

    lines = told([first.parent])

    assert [line.partition(":")[0] for line in lines] == ["test_it.py"]


@pytest.mark.usefixtures("watched")
def test_what_was_not_read_to_its_end_is_never_none(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(start().encode() + begun(78))

    (line,) = told([tmp_path])

    assert "could not be read to its end: egressmon's own summary" in line


def test_where_nobody_watches_nothing_is_said(tmp_path: Path) -> None:
    assert told([tmp_path]) == []
