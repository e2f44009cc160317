"""Python frames on whatever kernel and with whatever engine: read, or a blind spot."""

import os
import sys
from collections.abc import Callable
from typing import cast

import pytest

from egressmon.attribution.python.interpreters import Interpreters
from egressmon.attribution.python.return_probes import may_harm
from egressmon.probes.loaders.loading import Choice, load
from support.watching import ENGINE, Watched

Watch = Callable[..., Watched]

CLIENT = """
import asyncio, os, socket, sys, threading
def dial(port):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", port))
def deep(count, port):
    if count:
        return deep(count - 1, port)
    dial(port)
deep(100, 7)
thread = threading.Thread(target=dial, args=(8,))
thread.start()
thread.join()
os.environ["PYTEST_CURRENT_TEST"] = "test_x.py::dial (call)"
dial(9)
async def task():
    dial(10)
async def creator():
    await asyncio.gather(task())
asyncio.run(creator())
"""


@pytest.mark.smoke
def test_frames_are_read_or_a_blind_spot(watched: Watch) -> None:
    # By its path: one behind a script (pyenv) is watched only once it was executed.
    run = watched("/usr/bin/python3", "-c", CLIENT)

    assert run.end["verdict"] == "clean", run.stderr
    spots = {spot["name"]: spot["reason"] for spot in run.records[0]["blind_spots"]}
    found = {one["dst"]["port"]: one for one in run.of("connection")}
    assert len(found) == 4
    if "python-frames" in spots:
        for record in found.values():
            assert record["code"] is None
            assert record["code_reason"] == spots["python-frames"]
        return
    codes = {port: one["code"] for port, one in found.items()}
    stacks = {
        port: [(one["function"], one["line"]) for one in code["stack"]]
        for port, code in codes.items()
    }
    assert stacks[7] == [
        ("dial", 5),
        ("deep", 9),
        *[("deep", 8)] * 100,
        ("<module>", 10),
    ]
    assert stacks[8][0] == ("dial", 5)
    starter = [(one["function"], one["line"]) for one in codes[8]["started_by"]]
    assert starter[-1] == ("<module>", 12)
    assert codes[8]["test"] is None
    assert (codes[9]["test"], codes[9]["test_confirmed"]) == (
        "test_x.py::dial (call)",
        False,
    )
    if "task-creators" in spots:
        assert codes[10]["created_by"] is None
    else:
        assert "creator" in [one["function"] for one in codes[10]["created_by"]]


def test_return_probes_and_seccomp_filters() -> None:
    engine = load(cast("Choice", ENGINE), frames=True)
    try:
        frames = engine.frames
        if frames is None:
            assert engine.no_frames
            return
        own = Interpreters(frames).consider(sys.executable)
        assert own is not None
        assert own.contexts is not None
        path, copied = own.path, own.contexts[0]
        asked: list[int] = []

        def watch(pid: int) -> int:
            asked.append(pid)
            return frames.watch_copies(path, copied, pid)

        # As if this kernel were one of those that have to be tried.
        harm = may_harm("6.12", watch)

        assert len(asked) == 1
        major, minor = map(int, os.uname().release.split(".")[:2])
        if not (6, 11) <= (major, minor) < (6, 14):
            assert harm is False
    finally:
        engine.close()
