"""The guard's ledger: each decision, or no connection."""

import json
from pathlib import Path

from support.guarded import lines, run


def test_each_decision_is_a_line(tmp_path: Path) -> None:
    code = """
    EgressGuard.decisions("ledger.jsonl")
    attempt(lambda: socket.create_connection(("localhost", 9)))
    attempt(lambda: socket.create_connection(("198.51.100.7", 443)))
    """

    lines(tmp_path, code)

    path = tmp_path / "ledger.jsonl"
    found = [json.loads(one) for one in path.read_text().splitlines()]
    kinds = [(one["kind"], one["host"], one["verdict"]) for one in found]
    assert kinds[0] == ("lookup", "localhost", "allowed")
    assert kinds[-1] == ("connect", "198.51.100.7", "violation")
    reached = next(one for one in found if one["port"] == 9)
    assert reached["names"] == ["localhost"]
    assert reached["rule"] == "allow[0]"
    assert reached["protocol"] == "tcp"
    assert all("<string>" in one["caller"] for one in found)
    assert {"time", "pid", "tid", "address", "reason", "schema"} <= set(reached)
    assert path.stat().st_mode & 0o077 == 0


def test_a_full_disk_refuses_and_says_so_once(tmp_path: Path) -> None:
    code = """
    EgressGuard.decisions("/dev/full")
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    """

    done = run(tmp_path, code)

    assert done.stdout == "violation 127.0.0.2 9\n" * 2
    assert done.stderr.count("No space left on device: what cannot be written") == 1


def test_a_ledger_that_cannot_be_opened_refuses(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    code = """
    for name in ("nowhere/ledger", "link", "."):
        EgressGuard.decisions(name)
        attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
    """

    assert run(tmp_path, code).stdout == "violation 127.0.0.2 9\n" * 3


def test_children_by_fork_write_whole_lines(tmp_path: Path) -> None:
    code = """
    import os
    EgressGuard.decisions("ledger.jsonl")
    for _ in range(4):
        if not os.fork():
            for _ in range(50):
                attempt(lambda: socket.create_connection(("127.0.0.2", 9)))
            os._exit(0)
    for _ in range(4):
        os.wait()
    """

    lines(tmp_path, code)

    found = list(map(json.loads, (tmp_path / "ledger.jsonl").read_text().splitlines()))
    assert len(found) == 200
    assert len({one["pid"] for one in found}) == 4
