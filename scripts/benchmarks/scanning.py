"""Measure how fast cassettes and other recordings are searched for secrets.

scanning.py [MEGABYTES [profile]]
scanning.py hostile                 a quarter of a megabyte of each mark, in a row

The cassettes are generated into a temporary folder: conversations with a language
model and other APIs as VCR writes them, in YAML and JSON, in all sizes up to a quarter
of the whole; a tenth of the bodies is base64 of gzip. One in a thousand holds a key.
"""

import base64
import cProfile
import gzip
import json
import pstats
import random
import resource
import string
import sys
import tempfile
import time
from pathlib import Path

from egressmon.sanitise.catalog.listed import KINDS
from egressmon.sanitise.redaction import scan_text
from egressmon.scan.search import FileSearch, Leak

WORDS = """the of and to in is that it was for on are as with they be at one have this
from request response model server client header value connection evidence policy a
network process message stream window result""".split()  # noqa: SIM905
LETTERS = string.ascii_letters + string.digits


def cassettes(random_: random.Random, folder: Path, size: int) -> list[Path]:
    """Write cassettes of `size` bytes in all, and return their paths."""
    paths: list[Path] = []
    left = size
    while left > 0:
        share = min(left, random_.choice([20_000, 200_000, 2_000_000, size // 4]))
        form = random_.choice([yaml, jsons])
        path = folder / f"{len(paths)}.{form.__name__}"
        with path.open("w") as out:
            written = 0
            while written < share:
                written += out.write(form(random_))
        paths.append(path)
        left -= written
    return paths


def yaml(random_: random.Random) -> str:
    """Return an interaction of a cassette in YAML."""
    return (
        f"- request:\n    body: '{body(random_)}'\n    headers:\n"
        "      Accept:\n      - application/json\n      User-Agent:\n      - client\n"
        "      X-Api-Key:\n      - REDACTED\n    method: POST\n"
        f"    uri: https://api.example.test/v1/messages?page={random_.randrange(99)}\n"
        f"  response:\n    body:\n      string: {response(random_)}\n"
        "    headers:\n      Content-Type:\n      - application/json\n      ETag:\n"
        f'      - W/"{random_.randbytes(20).hex()}"\n    status:\n      code: 200\n'
    )


def jsons(random_: random.Random) -> str:
    """Return an interaction of a cassette in JSON, on a line."""
    headers = {"Accept": ["*/*"], "Date": ["Mon, 02 Nov 2026 10:00:00 GMT"]}
    uri = "https://api.example.test/v1/models?name=a%20b"
    request = {"body": body(random_), "headers": headers, "uri": uri}
    return json.dumps({"request": request, "response": body(random_)}) + "\n"


def body(random_: random.Random) -> str:
    """Return a message in JSON; one in a thousand holds a key."""
    text = " ".join(random_.choices(WORDS, k=random_.randrange(50, 400)))
    if random_.random() < 0.001:
        text += " sk-ant-api03-" + "".join(random_.choices(LETTERS, k=90))
    identity = "msg_" + "".join(random_.choices(LETTERS, k=24))
    usage = {"input_tokens": random_.randrange(9999), "output_tokens": 17}
    return json.dumps({"id": identity, "content": [{"text": text}], "usage": usage})


def response(random_: random.Random) -> str:
    """Return a body for YAML, one in ten compressed."""
    plain = body(random_)
    if random_.random() < 0.9:
        return f"'{plain}'"
    packed = base64.encodebytes(gzip.compress(plain.encode(), 1)).decode()
    return "!!binary |\n        " + packed.strip().replace("\n", "\n        ")


def scan(paths: list[Path]) -> int:
    """Search `paths` and return how many secrets are there."""
    results = (one for path in paths for one in FileSearch(str(path)).results())
    return sum(isinstance(one, Leak) for one in results)


def hostile() -> None:
    """Print what takes longest of the marks of secrets, each in a row."""
    marks = {mark for kind in KINDS for mark in kind.marks.split()}
    marks |= {
        "sid=",
        "token=",
        "a://b:c@",
        "cookie: a=b;",
        " -a",
        "%41",
        "\\u0041",
        "A/",
    }
    taken: list[tuple[float, str]] = []
    for mark in sorted(marks):
        began = time.process_time()
        scan_text(mark * (250_000 // len(mark)))
        taken.append(((time.process_time() - began) * 4, mark))
    for seconds, mark in sorted(taken, reverse=True)[:8]:
        print(f"{seconds:6.2f} s/MB  {mark!r}")


def main() -> None:
    """Generate, search and print."""
    if sys.argv[1:] == ["hostile"]:
        hostile()
        return
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        paths = cassettes(random.Random(14), Path(folder), megabytes * 1_000_000)  # noqa: S311
        size = sum(path.stat().st_size for path in paths)
        if sys.argv[2:] == ["profile"]:
            profile = cProfile.Profile()
            profile.runcall(scan, paths)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            return
        start, began = time.perf_counter(), time.process_time()
        found = scan(paths)
        wall, cpu = time.perf_counter() - start, time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{size / 1e6:.0f} MB in {len(paths)} files: {found} secrets; "
        f"{size / cpu / 1e6:.1f} MB/s of CPU, {size / wall / 1e6:.1f} MB/s; "
        f"peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
