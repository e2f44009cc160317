"""Played cassettes under `egressmon watch`: the kernel sees what the plugin cannot."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import SERVER4
from support.watching import Watched

Watch = Callable[..., Watched]
POLICY = (Path(__file__).parents[2] / "docs/examples/cassettes/replay.toml").read_text()
PYTEST = (sys.executable, "-m", "pytest", "-q", "-v", "-p", "no:cacheprovider")
QUIET = "def test_quiet(): pass\n"
# A child process has no audit hook of ours; libc called by ctypes raises no event.
CHILD = f"""
import subprocess
def test_child():
    subprocess.run(["curl", "-sS", "http://{SERVER4}/"], check=True)
"""
LIBC = f"""
import ctypes, socket, struct
def test_libc():
    host, port = socket.inet_aton("{SERVER4}"), socket.htons(80)
    to = struct.pack("=HH4s8x", socket.AF_INET, port, host)
    with socket.socket() as one:
        assert ctypes.CDLL(None).connect(one.fileno(), to, len(to)) == 0
"""


def run(watched: Watch, folder: Path, tests: str) -> Watched:
    (folder / "test_it.py").write_text(tests)
    return watched(*PYTEST, "--egress-cassettes", "test_it.py", policy=POLICY)


def test_a_run_that_only_plays_is_clean(watched: Watch, tmp_path: Path) -> None:
    done = run(watched, tmp_path, QUIET)

    assert done.status == 0, done.stderr
    assert "this run is watched" in done.stdout


@pytest.mark.parametrize(("tests", "name"), [(CHILD, "child"), (LIBC, "libc")])
def test_what_passes_the_plugin_by_fails_the_run(
    watched: Watch, tmp_path: Path, tests: str, name: str
) -> None:
    done = run(watched, tmp_path, tests + QUIET)

    assert "2 passed" in done.stdout  # the plugin saw nothing
    assert done.status == 120
    (found,) = [one for one in done.of("connection") if one["verdict"] == "violation"]
    assert found["dst"]["ip"] == SERVER4
    (start,) = done.of("run.start")
    spots = {spot["name"] for spot in start["blind_spots"]}
    # Some engines and kernels know no Python code, and say so.
    assert f"test_it.py::test_{name}" in done.stderr or "python-frames" in spots
