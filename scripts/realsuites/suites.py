"""Run real test suites from PyPI bare and under `egressmon watch`, and compare.

For each suite: whether every test ends alike, what watching costs, whether strace sees
a TCP connect that the evidence lacks, and whether the evidence names the right test,
file, line and function for each connect that Python made.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError

from catalogue import SUITES, Suite
from measuring import Cost
from preparing import default_cache, locked, prepared
from results import Result, summed_up
from runs import RunError, Runner, Turn
from tables import tables

EPILOG = """\
exit status: 0 all is as it should be; 1 a test ended otherwise, a connect is missing,
or a test or stack is wrong; 2 bad usage, or a suite could not be run"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    known = "\n".join(
        f"  {one.name} {one.version}: {one.about}" for one in SUITES.values()
    )
    found = argparse.ArgumentParser(
        prog="scripts/suites",
        description=f"{__doc__}\nsuites:\n{known}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "suite",
        nargs="*",
        metavar="SUITE",
        help="one of those above (default: all)",
    )
    found.add_argument(
        "--rounds",
        type=_positive,
        default=3,
        help="how often each is run bare and watched, in turns (default: %(default)s)",
    )
    found.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="FOLDER",
        help="where sources and environments are kept (default: %(default)s)",
    )
    found.add_argument(
        "--json", type=Path, metavar="FILE", help="also writes all figures to FILE"
    )
    return found


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(suite: Suite, cache: Path, watch: Sequence[str], rounds: int) -> Result:
    """Run one suite, prepared in `cache`, in turns and with strace beside it."""
    with locked(cache, suite):
        ready = prepared(suite, cache)
        runner = Runner(ready, watch, cache / "runs" / suite.name)
        return in_turns(runner, suite, rounds)


def say(what: str) -> None:
    """Tell on standard error how far it is."""
    print(f"suites: {what}", file=sys.stderr, flush=True)


def in_turns(runner: Runner, suite: Suite, rounds: int) -> Result:
    """Run one suite in turns, `rounds` times each way, and then check its evidence."""
    start_ups: list[Cost] = []
    bare: list[Turn] = []
    watched: list[Turn] = []
    for number in range(rounds):
        say(f"{suite.name}, round {number + 1} of {rounds}")
        start_ups.append(runner.start_up())
        # Who is first changes, so that what slows all down slows both.
        ways = [("bare", bare, runner.bare), ("watched", watched, runner.watched)]
        for name, turns, run_once in ways if number % 2 else reversed(ways):
            turns.append(run_once())
            say(f"{suite.name}, {name}: {turns[-1].cost.cpu_s:.2f} s of CPU")
    say(f"{suite.name}, with strace and the truth")
    return summed_up(suite, start_ups, bare, watched, runner.check())


def main(arguments: Sequence[str], watch: Sequence[str]) -> int:
    """Run the suites that are asked for; `watch` are the words of `egressmon watch`."""
    asked = parser().parse_args(arguments)
    unknown = [name for name in asked.suite if name not in SUITES]
    if unknown:
        parser().error(f"no suite {unknown[0]!r}: there are {', '.join(SUITES)}")
    if shutil.which("strace") is None:
        parser().error("strace is not installed (apt install strace)")
    results: list[Result] = []
    for name in asked.suite or SUITES:
        try:
            results.append(
                run(SUITES[name], asked.cache.resolve(), watch, asked.rounds)
            )
        except (RunError, CalledProcessError) as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 2
    print(tables(results))
    if asked.json:
        text = json.dumps([one.as_json() for one in results], indent=2)
        asked.json.write_text(text + "\n", encoding="utf-8")
    return int(any(one.wrong() for one in results))


if __name__ == "__main__":
    at = sys.argv.index("--", 1)  # scripts/suites says how egressmon is started
    sys.exit(main(sys.argv[at + 1 :], sys.argv[1:at]))
