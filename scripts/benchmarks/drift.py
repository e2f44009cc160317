"""How long `egressmon drift` takes for a million records, and in how much memory.

bench drift measures three kinds of evidence of 1,000,000 connections each: of one
process to two destinations; the same, but no two records alike; and to 10,000
destinations by 50 packages. No root is needed: `drift.py [RECORDS]` by itself.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blake3 import blake3

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.forging import written
from support.reached import connection, package, run_of

RECORDS = 1_000_000
WORDS = [sys.executable, "-I", "-m", "egressmon"]
KINDS = ("repeated", "distinct", "10,000 destinations")
Json = dict[str, Any]


def compare(folder: Path, rounds: int, records: int = RECORDS) -> None:
    """Print how long each kind of evidence takes; called by bench."""
    for kind in KINDS:
        path = folder / "evidence.jsonl"
        write(path, kind, records)
        baseline = folder / "baseline.toml"
        words = ["baseline", "write", str(path), "--force", "-o", str(baseline)]
        measure(f"{kind}: baseline write", path, words, rounds)
        measure(f"{kind}: drift", path, ["drift", str(baseline), str(path)], rounds)


def write(path: Path, kind: str, records: int) -> None:
    """Write evidence with about `records` records."""
    start, *_, end = run_of()
    prev: str | None = None
    with path.open("wb", buffering=1 << 20) as file:
        for number, one in enumerate(_records(start, end, kind, records)):
            one["seq"], one["prev"] = number, prev
            line = written(one)
            file.write(line + b"\n")
            prev = "blake3:" + blake3(line).hexdigest()


def _records(start: Json, end: Json, kind: str, records: int) -> Iterator[Json]:
    count = 10_000 if kind == "10,000 destinations" else 2
    made = [_connection(number, count) for number in range(count)]
    envelope = {name: start[name] for name in list(start)[:7]}
    yield start
    for one in made[0]:
        if one["type"] != "connection":
            yield {**envelope, **one}
    connections = [{**envelope, **one[-1]} for one in made]
    for number in range(records - 4):
        one = connections[number % count]
        if kind == "distinct":
            one["process"]["tid"] = 100 + number
        yield one
    yield end


def _connection(number: int, count: int) -> list[Json]:
    by = package(f"package-{number % 50}" if count > 2 else "requests", "1.0")
    return connection(f"api-{number}.example.org", by=by)


def measure(title: str, path: Path, words: list[str], rounds: int) -> None:
    """Print the medians of time and processor time, and the greatest memory."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(rounds):
        began, before = time.monotonic(), _cpu_s()
        done = subprocess.run([*WORDS, *words], check=False, capture_output=True)
        walls.append(time.monotonic() - began)
        cpus.append(_cpu_s() - before)
        if done.returncode > 1:
            sys.exit(done.stderr.decode())
    peak = _peak_mb([*WORDS, *words])
    print(
        f"{title:<38} {path.stat().st_size / 1e6:5.0f} MB: "
        f"CPU {statistics.median(cpus):6.2f} s, "
        f"wall {statistics.median(walls):6.2f} s, peak {peak:.0f} MB",
        flush=True,
    )


# Of that child alone, and not of the greatest so far.
def _peak_mb(words: list[str]) -> float:
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], "
        "capture_output=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True
    )
    return int(done.stdout) / 1024


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure once, with as many records as the command line says."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), 1, records)


if __name__ == "__main__":
    main()
