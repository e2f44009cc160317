"""Measure how long masking secrets takes: in hostile megabytes, and usual commands.

masking.py [ROUNDS]
"""

import sys
import time

from egressmon.sanitise import sanitise_argv

MEGABYTE = 1 << 20
UNITS = (
    *("token.", "x-", "pass-", "a://", "'\"", '"\\"', "eyJ-", "key=", "a:b@", "a@b:"),
    *(
        "-----BEGIN ",
        "--token=",
        "bearer ",
        "$(",
        "`",
        "password=(",
        "aB3",
        "sh -c ",
        "' ",
    ),
    *("data:image/", "s.", "1:", "(", "a=b&", "ghp_", "sha256-"),
)
ORDINARY = (
    ["gcc", "-O2", "-c", "-o", "main.o", "main.c", "-Iinclude", "-DX=1"],
    ["sh", "-c", "cd /srv && make -j4 all"],
    ["git", "rev-parse", "--show-toplevel"],
    ["python3", "-m", "pytest", "-k", "unit"],
    ["curl", "-sS", "https://example.org/"],
)


def milliseconds(argv: list[str], rounds: int) -> float:
    """Return how long masking `argv` takes, in ms of CPU: the least of the rounds."""
    times: list[float] = []
    for _ in range(rounds):
        start = time.process_time()
        sanitise_argv(argv)
        times.append(time.process_time() - start)
    return min(times) * 1000


def hostile(unit: str) -> dict[str, list[str]]:
    """Return commands with a megabyte of `unit` in their arguments, by their shape."""
    page = unit * (4096 // len(unit))
    return {
        "one word": ["tool", unit * (MEGABYTE // len(unit))],
        "long words": ["curl", *[page] * (MEGABYTE // len(page))],
        "short words": ["curl", *[unit] * (MEGABYTE // len(unit))],
        "shell": ["sh", "-c", *[page] * (MEGABYTE // len(page))],
    }


def main() -> None:
    """Print the slowest hostile command, and the mean of the usual ones."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found = sorted(
        (
            (milliseconds(argv, rounds), shape, unit)
            for unit in UNITS
            for shape, argv in hostile(unit).items()
        ),
        reverse=True,
    )
    print("a megabyte of hostile arguments, CPU:")
    for cost, shape, unit in found[:8]:
        print(f"  {cost:6.1f} ms  {shape} of {unit!r}")
    for title, suffix in (("known words", ""), ("new words", "-{}")):
        start = time.process_time()
        for number in range(2000):
            for argv in ORDINARY:
                sanitise_argv([word + suffix.format(number) for word in argv])
        cost = (time.process_time() - start) / 2000 / len(ORDINARY) * 1e6
        print(f"an ordinary command of {title}: {cost:.1f} us")


if __name__ == "__main__":
    main()
