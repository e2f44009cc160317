"""docs/surfaces.md and docs/drift-examples.md say what real SDKs do."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import drifts
import wired
from make_surfaces import surface
from sdk_runs import Runner
from sdks import SDKS, Sdk
from support.waiting import until
from support.watching import EGRESSMON
from surfaces_page import section
from vendor_network import network

DOCS = Path(__file__).parents[2] / "docs"
# One in each run of the tests; the others fetch and run for minutes.
OFTEN, *SELDOM = SDKS

pytestmark = pytest.mark.userspace


@pytest.fixture(scope="module")
def runner(
    can_load: None,  # noqa: ARG001 -- order
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Runner]:
    folder = tmp_path_factory.mktemp("surfaces")
    with network(folder) as net:
        yield Runner(EGRESSMON, net)


# The program is called after its version, which differs from machine to machine.
def any_python(text: str) -> str:
    return re.sub(r"python3\.\d+", "python3", text)


@pytest.mark.parametrize(
    "sdk", [OFTEN, *(pytest.param(one, marks=pytest.mark.long) for one in SELDOM)]
)
def test_what_an_sdk_touches_is_on_the_page(runner: Runner, sdk: Sdk) -> None:
    found = section(surface(runner, sdk))

    assert found in (DOCS / "surfaces.md").read_text()


@pytest.mark.long
def test_how_versions_drift_is_on_the_page(runner: Runner) -> None:
    page = (DOCS / "drift-examples.md").read_text()

    assert any_python(drifts.page(runner)) == any_python(page)


def processes_in(namespace: str) -> list[str]:
    listed = subprocess.run(
        ["ip", "netns", "pids", namespace], check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_who_ends_the_script_has_nothing_left_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = Path(drifts.__file__).with_name("make_surfaces.py")
    words = [sys.executable, "-s", str(script), str(tmp_path), "--", "sleep", "100"]
    there = {**os.environ, "PYTHONPATH": str(Path(wired.__file__).parent)}
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=there
    ) as process:
        assert process.stderr is not None
        assert "surfaces:" in process.stderr.readline()  # the network is up
        process.send_signal(number)
        process.wait(timeout=30)

    names = [f"surf{process.pid}{side}" for side in "cs"]
    left = [one for one in names if Path("/run/netns", one).exists()]
    try:
        assert left == (names if number == signal.SIGKILL else [])
        until(lambda: not any(map(processes_in, left)))
    finally:
        for one in left:
            subprocess.run(["ip", "netns", "del", one], check=True)
