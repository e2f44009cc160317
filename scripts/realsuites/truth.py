"""A pytest plugin: what made each TCP connect, as Python itself tells it.

CPython raises the audit event `socket.connect` (PEP 578) in the thread that connects.
For each, one JSON line goes to the file of `--truth`: where to, the test, and the
frames. It runs in the suites' environments, so it needs pytest alone.

The test is not taken from PYTEST_CURRENT_TEST, which egressmon reads, but from a
context variable, which tasks inherit from whoever made them. In a thread without it, it
is the test that started the thread.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextvars import ContextVar
from inspect import currentframe
from types import FrameType
from typing import Any

import pytest

MAX_FRAMES = 1_024
_test: ContextVar[str | None] = ContextVar("egressmon_truth", default=None)
_starters: dict[int, str | None] = {}  # by id() of the thread's object
# As they are now: tests replace them.
_clock, _tid, _pid = time.time_ns, threading.get_native_id, os.getpid
_open, _write, _close, _dumps = os.open, os.write, os.close, json.dumps


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--truth", help="where to write each connect")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--truth")
    if not isinstance(path, str):
        return
    _follow_threads()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            sock, address = arguments
            here = currentframe()
            _record(path, sock, address, here and here.f_back)

    sys.addaudithook(hook)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        _test.set(None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    _test.set(f"{item.nodeid} (setup)")
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    _test.set(f"{item.nodeid} (call)")
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    _test.set(f"{item.nodeid} (teardown)")
    yield


def _now() -> str | None:
    return _test.get() or _starters.get(id(threading.current_thread()))


def _follow_threads() -> None:
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def noted(self: threading.Thread) -> None:
        _starters[id(self)] = _now()
        start(self)

    threading.Thread.start = noted  # type: ignore[method-assign]


def _record(
    path: str, sock: socket.socket, address: Any, frame: FrameType | None
) -> None:
    inet = sock.family in (socket.AF_INET, socket.AF_INET6)
    if not inet or sock.type != socket.SOCK_STREAM:
        return
    record = {
        "time_ns": _clock(),
        "pid": _pid(),
        "tid": _tid(),
        "host": str(address[0]),
        "port": address[1],
        "test": _now(),
        "frames": _frames(frame),
    }
    fd = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _write(fd, _dumps(record).encode() + b"\n")
    _close(fd)


# Innermost first: function, file, line.
def _frames(frame: FrameType | None) -> list[tuple[str, str, int | None]]:
    found: list[tuple[str, str, int | None]] = []
    while frame is not None and len(found) < MAX_FRAMES:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        found.append((name, code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return found
