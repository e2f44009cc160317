"""Learn a policy from one run of a tool, and see whether it makes ten more runs clean.

Five of the ten are at the same place, and five at another one: another search domain,
other addresses of the resolver and of all servers. The policy is enforced, so a single
connection or look-up that it does not cover fails the run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import served
from places import HERE, THERE, Net, Place, net
from preparing import default_cache
from tables import table
from tools import TOOLS, Command, Tool

EPILOG = """\
exit status: 0 all runs were clean; 1 one was not; 2 bad usage, or a tool did not run"""
_PROGRAMS = ("ip", "nsenter", "unshare", "dpkg-deb", "git", "curl")


@dataclass
class Result:
    """What came of one tool."""

    tool: Tool
    entries: int = 0
    """How many entries and names its policy has."""
    clean: dict[str, int] = field(default_factory=dict[str, int])
    """By place: how many runs were clean."""
    failures: list[str] = field(default_factory=list[str])
    """What egressmon said of runs that were not."""


class RunError(Exception):
    """A run says nothing; the message says why."""


class Runner:
    """Runs a tool under egressmon; `folder` gets policies, evidence and output."""

    def __init__(self, egressmon: Sequence[str], net: Net, folder: Path) -> None:
        self._egressmon = list(egressmon)
        self._net = net
        self._folder = folder

    def learn(self, tool: Tool, command: Command) -> Path:
        """Learn the policy of a run at the first place; returns its file."""
        policy = self._folder / f"{tool.name}.toml"
        end, said = self._run("learn", HERE, command, ["--output", str(policy)])
        if not policy.exists() or end["exit_status"] != 0:
            raise RunError(f"{tool.name} did not run: {said}")
        return policy

    def is_clean(self, place: Place, command: Command, policy: Path) -> str:
        """Run the tool under its policy; returns what was said if it was not clean."""
        options = ["--policy", str(policy), "--enforce", "fail"]
        end, said = self._run("watch", place, command, options)
        fine = end["verdict"] == "clean" and end["exit_status"] == 0
        return "" if fine else f"{place.name}: {said}"

    def _run(
        self, verb: str, place: Place, command: Command, options: list[str]
    ) -> tuple[dict[str, object], str]:
        evidence = self._folder / "evidence.jsonl"
        with tempfile.TemporaryDirectory(dir=self._folder) as empty:
            words = [*self._net.enter(place), *self._egressmon, verb, *options]
            words += ["--evidence", str(evidence), "--", *command.words]
            done = subprocess.run(
                words,
                check=False,
                cwd=command.folder or empty,
                env={**os.environ, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
            )
        end = json.loads(evidence.read_bytes().splitlines()[-1])
        return {**end, "exit_status": done.returncode}, done.stdout


def tried(runner: Runner, tool: Tool, cache: Path, runs: int) -> Result:
    """Learn once, and run the tool again `runs` times at each place."""
    found, command = Result(tool), tool.command(cache)
    policy = runner.learn(tool, command)
    text = policy.read_text(encoding="utf-8")
    say(f"{tool.name}: learned\n{text}")
    found.entries = text.count("\n[[allow]]") + text.count('\n  "')
    for place in (HERE, THERE):
        said = [runner.is_clean(place, command, policy) for _ in range(runs)]
        found.clean[place.name] = said.count("")
        found.failures += filter(None, said)
        say(f"{tool.name}, {place.name}: {said.count('')} of {runs} clean")
    return found


def is_there(tool: Tool) -> bool:
    """Tell whether the tool is installed; says so if it is not."""
    if shutil.which(tool.program) is None:
        say(f"{tool.program} is not installed: left out")
        return False
    return True


def say(what: str) -> None:
    """Tell on standard error how far it is."""
    print(f"relearn: {what}", file=sys.stderr, flush=True)


def report(results: Sequence[Result], runs: int) -> str:
    """Return the table, and what was said of runs that were not clean."""
    heads = ("tool", "what it does", "entries", "same place", "other place", "clean")
    rows = [
        [
            *(one.tool.name, one.tool.about, str(one.entries)),
            *(str(count) for count in one.clean.values()),
            f"**{sum(one.clean.values())} of {2 * runs}**",
        ]
        for one in results
    ]
    return "\n\n".join(
        [table(heads, rows), *(text for one in results for text in one.failures)]
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    known = "\n".join(f"  {one.name}: {one.about}" for one in TOOLS.values())
    found = argparse.ArgumentParser(
        prog="scripts/relearn",
        description=f"{__doc__}\ntools:\n{known}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "tool", nargs="*", metavar="TOOL", help="one of those above (default: all)"
    )
    found.add_argument(
        "--runs", type=int, default=5, help="at each place (default: %(default)s)"
    )
    found.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="FOLDER",
        help="where scripts/suites keeps its suites (default: %(default)s)",
    )
    return found


def main(arguments: Sequence[str], egressmon: Sequence[str]) -> int:
    """Try the tools that are asked for; `egressmon` are the words that start it."""
    asked = parser().parse_args(arguments)
    unknown = [name for name in asked.tool if name not in TOOLS]
    if unknown:
        parser().error(f"no tool {unknown[0]!r}: there are {', '.join(TOOLS)}")
    if os.geteuid() != 0:
        parser().error("it makes network namespaces: run it as root")
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        parser().error(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="egressmon-relearn-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the name servers and apt are other users
        files = folder / "served"
        files.mkdir()
        served.make(files)
        with net(folder, files) as built:
            runner = Runner(egressmon, built, folder)
            names = asked.tool or [name for name in TOOLS if is_there(TOOLS[name])]
            cache = asked.cache.resolve()
            try:
                results = [
                    tried(runner, TOOLS[one], cache, asked.runs) for one in names
                ]
            except RunError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
    print(report(results, asked.runs))
    return int(any(one.failures for one in results))


if __name__ == "__main__":
    at = sys.argv.index("--", 1)  # scripts/relearn says how egressmon is started
    sys.exit(main(sys.argv[at + 1 :], sys.argv[1:at]))
