"""What each level of attribution costs: bench.py attribution [ROUNDS]."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import EGRESSMON, TCP_CONNECTS, UDP_CONNECTS, Bench, alternate, output, show

from egressmon.attribution import LEVELS
from egressmon.attribution.images import Images
from egressmon.attribution.mappings import AddressSpace, Spaces
from egressmon.attribution.unwind import Unwinder
from egressmon.decode import decode
from egressmon.events import Stack
from egressmon.probes import loading
from egressmon.probes.architecture import this_machine
from egressmon.probes.sideband import SideBand
from egressmon.probes.wire import CONSTANTS
from egressmon.scope import make_scope

CONNECTS_PER_S = 10_000
FOR_S = 5
UNWINDS = 2_000
COLD_UNWINDS = 50
LIBRARIES = 30


class Attributing(Bench):
    """The same measurements, a level at a time."""

    def _by(self, level: str, *words: str) -> list[str]:
        options = ["--attribution", level, "--evidence", str(self._evidence)]
        return [*EGRESSMON, *options, "--", *words]

    def loops(self) -> None:
        """What each connect costs more than unwatched."""
        for kind, count in (("tcp", TCP_CONNECTS), ("udp", UDP_CONNECTS)):
            plain = [self._load, kind, str(count)]
            ways = {"unwatched": lambda plain=plain: output(plain)}
            for level in LEVELS:
                words = self._by(level, *plain)
                ways[level] = lambda words=words: output(words)
            found = alternate(ways, self._rounds)
            show(f"{kind} connect loop, each", "us", 0.001, found)
            base = statistics.median(found["unwatched"])
            for level in LEVELS:
                added = statistics.median(found[level]) - base
                print(f"  {level} adds {added:.0f} ns")

    def agent(self) -> None:
        """What the agent does at a steady rate, and what does not fit."""
        print(f"\n{CONNECTS_PER_S} TCP connects a second for {FOR_S} s")
        for level in LEVELS:
            script = (
                f"{self._load} rate {CONNECTS_PER_S} {FOR_S}; "
                f"cat /proc/$PPID/stat /proc/$PPID/status >{self._facts}"
            )
            made = output(self._by(level, "sh", "-c", script))
            end = json.loads(self._evidence.read_bytes().splitlines()[-1])
            ticks, peak = self._used()
            milliseconds = ticks / os.sysconf("SC_CLK_TCK") * 1000
            each = milliseconds / (made * FOR_S) * 1000
            lost = sum(n for name, n in end["losses"].items() if "lost" in name)
            print(
                f"  {level:<8} {made:6.0f}/s  agent {each:5.1f} ms of CPU for 1,000 "
                f"connects, peak {peak:.0f} MB; lost {lost}, without a stack "
                f"{end['losses']['missed_stack']}"
            )

    def libraries(self) -> None:
        """The agent's memory with large libraries on the stack's way and beside it."""
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
            f"open({str(self._facts)!r}, 'w').write("
            "open(f'/proc/{os.getppid()}/stat').read() "
            "+ open(f'/proc/{os.getppid()}/status').read())\n"
        )
        print(f"\na process with the {LIBRARIES} largest libraries that load")
        for level in LEVELS:
            subprocess.run(self._by(level, sys.executable, "-c", code), check=True)
            print(f"  {level:<8} agent's peak {self._used()[1]:.0f} MB")

    # The agent's clock ticks of CPU, and its peak of memory in MB.
    def _used(self) -> tuple[int, float]:
        text = self._facts.read_text()
        fields = text.splitlines()[0].rpartition(")")[2].split()
        peak = next(line for line in text.splitlines() if line.startswith("VmHWM"))
        return int(fields[11]) + int(fields[12]), int(peak.split()[1]) / 1024


# One real stack of a Python process, with what it had mapped.
def _captured() -> tuple[Stack, AddressSpace]:
    scope = make_scope()
    engine = loading.load("auto")
    engine.stack_bytes = CONSTANTS["STACK_BYTES"]
    side_band = SideBand(scope.fd)
    try:
        engine.attach(scope.fd)
        engine.arm_canary(None)
        code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
        enter = f'echo $$ >{scope.path}/cgroup.procs; exec "$@"'
        words = ["sh", "-c", enter, "sh", sys.executable, "-c", code]
        subprocess.run(words, check=True)
        spaces = Spaces(lambda _: None)
        spaces.push(side_band.read())
        for data in engine.read():
            event = decode(data)
            if isinstance(event, Stack):
                spaces.until(event.ktime_ns)
                space = spaces.of(event.pid)
                if space is not None:
                    return event, space
        raise SystemExit("no stack was captured")
    finally:
        side_band.close()
        engine.close()
        scope.remove()


def unwinds() -> None:
    """Print how many stacks a second can be unwound."""
    architecture = this_machine()
    if architecture is None:
        raise SystemExit("unknown architecture")
    stack, space = _captured()

    def once(unwinder: Unwinder) -> int:
        found = unwinder.unwind(space, stack.pid, stack.registers, stack.content)
        return len(found.frames)

    images = Images()
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
        images = Images()
        once(Unwinder(architecture, images))
        images.close()
    cold = (time.perf_counter() - began) / COLD_UNWINDS
    print(f"\nunwinding a Python process's stack of {frames} frames")
    print(f"  warm {warm * 1e6:7.0f} us  {1 / warm:7.0f}/s")
    print(f"  cold {cold * 1e6:7.0f} us  {1 / cold:7.0f}/s (every file anew)")


def compare(folder: Path, rounds: int) -> None:
    """Measure everything and print it."""
    began = time.monotonic()
    unwinds()
    attributing = Attributing(folder, rounds)
    attributing.loops()
    attributing.agent()
    attributing.libraries()
    print(f"\n{time.monotonic() - began:.0f} s in all")
