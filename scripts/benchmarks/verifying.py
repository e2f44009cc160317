"""How fast `egressmon verify` reads evidence, and in how much memory.

    verifying.py [--records N] [--distinct]

Makes a proof of N records (a million), as the stages of a run write them, and verifies
it in a process of its own. Most records of real runs repeat: here, of two destinations.
With --distinct, no two connections are alike.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from blake3 import blake3

from egressmon.locking import write_lock

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.forging import written
from support.recorded import POLICY, record


def make(folder: Path, records: int, *, distinct: bool) -> None:
    """Write a proof whose evidence has about `records` records."""
    (folder / "policy.toml").write_text(POLICY)
    path = folder / "evidence.jsonl"
    record(path)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    first = next(
        place for place, one in enumerate(lines) if one["type"] == "connection"
    )
    repeated = [one for one in lines if one["type"] == "connection"]
    times = (records - len(lines)) // len(repeated)
    end = lines[-1]
    for verdict in end["connections"]:
        end["connections"][verdict] *= times + 1
    for name in ("unknown_modules", "unknown_code"):
        end[name] *= times + 1
    prev: str | None = None
    number = 0
    with path.open("wb", buffering=1 << 20) as file:
        for place, one in enumerate(lines):
            group = repeated * times if place == first else []
            for place_in_group, repeat in enumerate([*group, one]):
                repeat["seq"], repeat["prev"] = number, prev
                if distinct and group:
                    repeat["process"]["tid"] = 100 + place_in_group
                line = written(repeat)
                file.write(line + b"\n")
                prev = "blake3:" + blake3(line).hexdigest()
                number += 1
    write_lock(str(folder), policy="policy.toml")


def measure(folder: Path) -> None:
    """Verify the proof, and print records and megabytes a second, and the memory."""
    words = [sys.executable, "-I", "-m", "egressmon", "verify", "--format", "json"]
    began, before = time.monotonic(), _cpu_s()
    done = subprocess.run(
        [*words, str(folder)], check=False, capture_output=True, text=True
    )
    took_s = time.monotonic() - began
    cpu_s = _cpu_s() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = json.loads(done.stdout)
    (file,) = found["files"]
    print(
        f"{file['records']} records, {file['bytes'] / 1e6:.0f} MB, status "
        f"{done.returncode}: {took_s:.2f} s, {file['records'] / took_s:.0f} records/s, "
        f"CPU {cpu_s:.2f} s: {file['records'] / cpu_s:.0f} records/s, "
        f"{file['bytes'] / took_s / 1e6:.0f} MB/s, peak {peak:.0f} MB"
    )


# Of children: on a machine that does other work, too, time says little.
def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Make a proof and measure, as the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--distinct", action="store_true")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), parsed.records, distinct=parsed.distinct)
        for _ in range(3):
            measure(Path(folder))


if __name__ == "__main__":
    main()
