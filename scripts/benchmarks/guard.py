"""What the guard costs: bench.py guard [ROUNDS].

Pythons with and without it take turns: how long one takes to start, and in one that
runs, a connect (to a port of loopback where nobody listens), a look-up of localhost, an
import, and the first destination, which has the policy parsed.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

POLICY = """\
version = 1
[[allow]]
host = "localhost"
ports = [9]
"""
BOOT = "from egressmon.guard import boot; boot.begin({!r})\n"
LOOPS = """\
import json, socket, sys, time
def attempt():
    one = socket.socket()
    one.connect_ex(("127.0.0.1", 9))
    one.close()
def look_up():
    socket.getaddrinfo("localhost", 9)
def load():
    sys.modules.pop("this_is", None)
    compile("1", "x", "eval")
def measure(function, count):
    begin = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - begin) / count * 1e6
begin = time.perf_counter()
look_up()
found = {"first look-up": (time.perf_counter() - begin) * 1e6}
for name, function, count in (("connect", attempt, 5000), ("look-up", look_up, 2000),
                              ("another event", load, 20000)):
    function()
    found[name] = measure(function, count)
print(json.dumps(found))
"""


def compare(folder: Path, rounds: int) -> None:
    """Print medians in microseconds, and what is how many times as much."""
    policy = folder / "egress.toml"
    policy.write_text(POLICY)
    boot = BOOT.format(str(policy))
    found: dict[bool, dict[str, list[float]]] = {False: {}, True: {}}
    for _ in range(rounds):
        for is_guarded, mine in found.items():
            prelude = boot if is_guarded else ""
            for _ in range(5):
                mine.setdefault("start", []).append(_start(prelude))
            for name, value in _loops(prelude).items():
                mine.setdefault(name, []).append(value)
    print(f"{'µs':16}{'without':>12}{'guarded':>12}{'more':>12}{'ratio':>8}")
    for name, values in found[False].items():
        bare = statistics.median(values)
        guarded = statistics.median(found[True][name])
        print(
            f"{name:16}{bare:12.1f}{guarded:12.1f}{guarded - bare:12.1f}"
            f"{guarded / bare:8.2f}"
        )


def _start(prelude: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", prelude or "pass"], check=True)
    return (time.perf_counter() - begin) * 1e6


def _loops(prelude: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", prelude + LOOPS],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    values: dict[str, float] = json.loads(done.stdout)
    return values
