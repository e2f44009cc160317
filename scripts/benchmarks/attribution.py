"""Measure what each level of attribution costs: bench.py attribution [ROUNDS]."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench import AGENT, EGRESSMON, HERE, Bench, output

from egressmon.attribution import LEVELS
from egressmon.attribution.native.memory.address_spaces import AddressSpaces
from egressmon.attribution.native.memory.mappings import AddressSpace
from egressmon.attribution.native.unwinding.images import Images
from egressmon.attribution.native.unwinding.unwind import Unwinder
from egressmon.events.decode import decode
from egressmon.events.model import Stack
from egressmon.probes.architecture import this_machine
from egressmon.probes.kernel.sideband import SideBand
from egressmon.probes.loaders import loading
from egressmon.probes.wire import CONSTANTS
from egressmon.sensor.scope import make_scope

CONNECTS_PER_S = 10_000
FOR_S = 5
UNWINDS = 2_000
COLD_UNWINDS = 50
LIBRARIES = 30
DEPTHS = (4, 16, 32, 100)
DEEP = HERE / "depth.py"
PYTHON_CONNECTS = 50_000
TASKS = HERE / "tasks.py"
PYTHON_TASKS = 50_000


class Attributing(Bench):
    """The measurements of `Bench`, for each level of attribution."""

    def _by(self, level: str, *words: str) -> list[str]:
        options = ["--attribution", level, "--evidence", str(self._evidence)]
        return [*EGRESSMON, *options, "--", *words]

    def loops(self) -> None:
        """Measure what watching adds to a connect, from C and from depths of Python."""
        self._compare_loops("--attribution", LEVELS)
        for depth in DEPTHS:
            plain = [sys.executable, str(DEEP), str(depth), str(PYTHON_CONNECTS)]
            title = f"udp connect loop, {depth} Python frames deep, each"
            self._compare(title, plain, "--attribution", LEVELS)
        self.tasks()

    def tasks(self) -> None:
        """Measure what watching adds to asyncio's tasks, and to its callbacks."""
        for kind in ("task", "call_soon"):
            plain = [sys.executable, str(TASKS), str(PYTHON_TASKS), kind]
            self._compare(f"asyncio {kind}, each", plain, "--attribution", LEVELS)

    def agent(self) -> None:
        """Measure the agent's CPU time and losses at steady rates of connects."""
        print(f"\n{CONNECTS_PER_S} TCP connects a second for {FOR_S} s")
        for level in LEVELS:
            script = (
                f"{self._load} rate {CONNECTS_PER_S} {FOR_S}; "
                f"{AGENT}; cat /proc/$AGENT/stat /proc/$AGENT/status >{self._facts}"
            )
            made = output(self._by(level, "sh", "-c", script))
            end = json.loads(self._evidence.read_bytes().splitlines()[-1])
            used_s, peak = self._used()
            each = used_s * 1e6 / (made * FOR_S)
            lost = sum(n for name, n in end["losses"].items() if "lost" in name)
            print(
                f"  {level:<8} {made:6.0f}/s  agent {each:5.1f} ms of CPU for 1,000 "
                f"connects, peak {peak:.0f} MB; lost {lost}, without a stack "
                f"{end['losses']['missed_stack']}"
            )

    def libraries(self) -> None:
        """Measure the agent's memory when the process has large libraries mapped."""
        code = (
            "import ctypes, glob, os, socket\n"
            "paths = sorted(glob.glob('/usr/lib/*-linux-gnu/*.so*'), "
            "key=os.path.getsize, reverse=True)\n"
            "loaded = []\n"
            "for path in paths:\n"
            "    if 'san.so' in path: continue  # which must be loaded first\n"
            "    try: loaded.append(ctypes.CDLL(path))\n"
            "    except OSError: continue\n"
            f"    if len(loaded) == {LIBRARIES}: break\n"
            "socket.socket().connect_ex(('127.0.0.1', 9))\n"
            "keeper = os.getppid()\n"
            "children = open(f'/proc/{keeper}/task/{keeper}/children').read()\n"
            "agent = f'/proc/{children.split()[-1]}'\n"
            f"open({str(self._facts)!r}, 'w').write("
            "open(f'{agent}/stat').read() + open(f'{agent}/status').read())\n"
        )
        print(f"\na process with the {LIBRARIES} largest libraries that load")
        for level in LEVELS:
            subprocess.run(self._by(level, sys.executable, "-c", code), check=True)
            print(f"  {level:<8} agent's peak {self._used()[1]:.0f} MB")


# Returns a stack of a Python process that connects, and the process's mappings.
def _captured() -> tuple[Stack, AddressSpace]:
    scope = make_scope()
    engine = loading.load("auto")
    engine.stack_bytes = CONSTANTS["STACK_BYTES"]
    side_band = SideBand(scope.fd)
    try:
        engine.scope_id = os.fstat(scope.fd).st_ino
        engine.scope_level = scope.level
        engine.attach(scope.fd)
        engine.arm_canary(None)
        code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
        enter = f'echo $$ >{scope.path}/cgroup.procs; exec "$@"'
        words = ["sh", "-c", enter, "sh", sys.executable, "-c", code]
        subprocess.run(words, check=True)
        spaces = AddressSpaces()
        spaces.push(side_band.read())
        for data in engine.read():
            event = decode(data)
            if isinstance(event, Stack):
                spaces.advance_to(event.ktime_ns)
                space = spaces.get(event.pid)
                if space is not None:
                    return event, space
        raise SystemExit("no stack was captured")
    finally:
        side_band.close()
        engine.close()
        scope.remove()


def unwinds() -> None:
    """Print how many stacks can be unwound in a second."""
    architecture = this_machine()
    if architecture is None:
        raise SystemExit("unknown architecture")
    stack, space = _captured()

    def once(unwinder: Unwinder) -> int:
        found = unwinder.unwind(space, stack.pid, stack.registers, stack.content)
        return len(found.frames)

    images = Images(architecture)
    unwinder = Unwinder(architecture, images)
    frames = once(unwinder)
    began = time.perf_counter()
    for _ in range(UNWINDS):
        once(unwinder)
    warm = (time.perf_counter() - began) / UNWINDS
    images.close()
    began = time.perf_counter()
    for _ in range(COLD_UNWINDS):
        space.steps.clear()
        images = Images(architecture)
        once(Unwinder(architecture, images))
        images.close()
    cold = (time.perf_counter() - began) / COLD_UNWINDS
    print(f"\nunwinding a Python process's stack of {frames} frames")
    print(f"  warm {warm * 1e6:7.0f} us  {1 / warm:7.0f}/s")
    print(f"  cold {cold * 1e6:7.0f} us  {1 / cold:7.0f}/s (every file anew)")


def compare(folder: Path, rounds: int) -> None:
    """Run all measurements and print them."""
    began = time.monotonic()
    unwinds()
    attributing = Attributing(folder, rounds)
    attributing.loops()
    attributing.agent()
    attributing.libraries()
    print(f"\n{time.monotonic() - began:.0f} s in all")
