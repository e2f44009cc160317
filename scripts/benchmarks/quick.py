"""The few measurements that tell whether a change was for the better: two minutes.

bench.py --quick [ROUNDS]     (default: 5)

With EGRESSMON_AGAINST=FOLDER, another checkout takes turns with this one.
"""

import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import start
from bench import output
from each import LOOKUPS, Each

TCP_CONNECTS = 5_000
CALL_SOON = """
import asyncio, time

def ended(left):
    if left:
        asyncio.get_running_loop().call_soon(ended, left - 1)
    else:
        done.set()

async def main():
    global done
    done = asyncio.Event()
    began = time.process_time_ns()
    ended(20_000)
    await done.wait()
    print((time.process_time_ns() - began) // 20_000)

asyncio.run(main())
"""


class Row(NamedTuple):
    """What is measured: its name and unit, unwatched (if it can be) and watched."""

    what: str
    unit: str
    bare: Callable[[], float] | None
    watched: Callable[[Path], float]


class Quick(Each):
    """The measurements of `Each` and `Bench`, with less of everything."""

    def __init__(self, folder: Path, rounds: int) -> None:
        super().__init__(folder, rounds)
        self._note = start.compiled(folder)

    def rows(self) -> list[Row]:
        """Return what there is to measure, all at the level `full`."""
        loop = [self._load, "tcp", str(TCP_CONNECTS)]
        calls = [sys.executable, "-c", CALL_SOON]
        return [
            Row("armed", "ms", None, lambda root: self._start(root).armed),
            Row("a run, whole", "ms", None, lambda root: self._start(root).whole),
            self._each("a connection, agent", "rate 20000 1", 20_000),
            self._each("a short process, agent", "spawn 500", 500),
            self._each("a DNS look-up, agent", "", LOOKUPS[1]),
            self._program("TCP connect, accept, close", loop),
            self._program("loop.call_soon", calls),
        ]

    def _each(self, what: str, load: str, count: int) -> Row:
        def watched(root: Path) -> float:
            return self.once(root, "full", load).used_s / count * 1e6

        return Row(what, "us", None, watched)

    def _program(self, what: str, words: list[str]) -> Row:
        def watched(root: Path) -> float:
            return output([*self._words(root), *words]) / 1000

        return Row(what, "us", lambda: output(words) / 1000, watched)

    def _words(self, root: Path) -> list[str]:
        words = [f"{root}/.venv/bin/python", "-I", "-m", "egressmon", "watch"]
        words += ["--quiet", "--allow-incomplete"]
        return [*words, "--evidence", str(self._evidence), "--"]

    def _start(self, root: Path) -> start.Costs:
        note = self._facts.with_suffix(".ran")
        return start.run([*self._words(root), self._note, str(note)], note)


def compare(folder: Path, rounds: int) -> None:
    """Print one table: medians, and how many times more than unwatched and before."""
    rows = Quick(folder, rounds).rows()
    roots = {"now": Path(__file__).parents[2]}
    if other := os.environ.get("EGRESSMON_AGAINST"):
        roots = {"before": Path(other), **roots}
    columns = ("unwatched", *roots)
    print(f"{'':<27}{''.join(f'{name:>11}' for name in columns)}   times as much")
    for row in rows:
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            if row.bare is not None:
                found.setdefault("unwatched", []).append(row.bare())
            for name, root in roots.items():
                found.setdefault(name, []).append(row.watched(root))
        show(
            row, columns, {name: statistics.median(one) for name, one in found.items()}
        )


def show(row: Row, columns: tuple[str, ...], medians: dict[str, float]) -> None:
    """Print one line of the table."""
    cells = [f"{medians[one]:.1f}" if one in medians else "" for one in columns]
    ratios = [
        f"{medians['now'] / value:.2f} of {name}"
        for name, value in medians.items()
        if name != "now"
    ]
    print(
        f"{row.what:<27}{''.join(f'{cell:>11}' for cell in cells)} {row.unit}  "
        + ", ".join(ratios),
        flush=True,
    )
