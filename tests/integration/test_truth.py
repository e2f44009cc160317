"""The plugin of scripts/suites, which says what made a connect, in a real pytest."""

import json
import os
import subprocess
import sys
from pathlib import Path

from truth import __file__ as plugin

TESTS = """
import asyncio, socket, threading
import pytest

async def connect(port):
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))

@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        yield port

@pytest.mark.parametrize("number", [1])
def test_task(port, number):
    async def main():
        await asyncio.create_task(connect(port))
    asyncio.run(main())

def test_thread(port):
    def call():
        socket.socket().connect(("127.0.0.1", port))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.connect(("127.0.0.1", port))
"""


def test_each_connect_is_told_with_its_test_and_frames(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(Path(plugin).parent)}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(
        [*words, "-p", "truth", "--truth", "told.jsonl", "test_it.py"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )

    lines = (tmp_path / "told.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["test"] for one in told] == [
        "test_it.py::test_task[1] (setup)",
        "test_it.py::test_task[1] (call)",
        "test_it.py::test_thread (setup)",
        "test_it.py::test_thread (call)",
    ]
    function, file, line = told[3]["frames"][0]
    assert function == "test_thread.<locals>.call"
    assert (file, line) == (str(tmp_path / "test_it.py"), 26)
    assert told[3]["tid"] != told[3]["pid"] == told[0]["tid"]
