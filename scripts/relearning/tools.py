"""What is learned from: real tools and shortened suites that look names up."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalogue import COMMON, SUITES
from places import WHOLE
from preparing import Prepared, locked, prepared


@dataclass(frozen=True)
class Command:
    """What is run, and where."""

    words: tuple[str, ...]
    folder: Path | None = None
    """None: a new, empty one each time."""


@dataclass(frozen=True)
class Tool:
    """Something that connects by name."""

    name: str
    about: str
    command: Callable[[Path], Command]
    """Makes it ready; takes the folder that `scripts/suites` keeps its suites in."""


def _shell(*lines: str) -> Callable[[Path], Command]:
    return lambda _: Command(("sh", "-ec", "\n".join(lines)))


_PIP = (
    f"{sys.executable} -I -m pip -q --disable-pip-version-check --no-cache-dir download"
    " --no-deps -i http://pypi/simple --trusted-host pypi demo"
)
_APT = "apt-get -q -o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=-"
_APT_STATE = " -o Dir::State=$PWD/state -o Dir::Cache=$PWD/cache"
_MAKE = "\\n".join(
    (
        "all: " + " ".join(name.partition(".")[0] for name in WHOLE),
        *(
            f"{name.partition('.')[0]}:\\n\\tcurl -sSf -o /dev/null http://{name}/page"
            for name in WHOLE
        ),
    )
)


def _suite(name: str, *options: str) -> Callable[[Path], Command]:
    def command(cache: Path) -> Command:
        ready = _ready(name, cache)
        pytest = (str(ready.python), "-m", "pytest", *COMMON)
        return Command((*pytest, *options), ready.sources)

    return command


def _ready(name: str, cache: Path) -> Prepared:
    with locked(cache, SUITES[name]):
        return prepared(SUITES[name], cache)


# One process asks for four names that share an address, and connects when it can.
_GATHER = f"""
import asyncio, aiohttp
async def fetch(session, name):
    async with session.get(f"http://{{name}}/page") as answer: await answer.read()
async def main():
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(fetch(session, name) for name in {WHOLE!r}))
asyncio.run(main())
"""


def _gather(cache: Path) -> Command:
    return Command((str(_ready("aiohttp", cache).python), "-c", _GATHER))


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("pip", "pip download, from an index by a short name", _shell(_PIP)),
        Tool(
            "git",
            "git clone over HTTP, by a short name",
            _shell("git clone -q http://git/demo.git clone"),
        ),
        Tool(
            "npm",
            "npm install, from a registry by a short name",
            _shell(
                "export HOME=$PWD npm_config_update_notifier=false",
                "npm install --silent --registry=http://npm/ demo",
            ),
        ),
        Tool(
            "apt",
            "apt-get update and download, by a short name, as another user",
            _shell(
                "chmod 755 .",
                'echo "deb [trusted=yes] http://deb/debs ./" >sources',
                "mkdir -p state/lists/partial cache/archives/partial",
                f"{_APT}{_APT_STATE} update",
                f"{_APT}{_APT_STATE} download demo",
            ),
        ),
        Tool(
            "make",
            "make -j4 with a curl for each of four names, which share an address",
            _shell(f"printf '{_MAKE}\\n' >Makefile", "make -s -j4"),
        ),
        Tool("aiohttp", "one process, four names at once, one address", _gather),
        Tool(
            "requests-suite",
            "the suite of requests, its main file",
            _suite("requests", "tests/test_requests.py", "-k", "not TestTimeout"),
        ),
        Tool(
            "tornado-suite",
            "the suite of tornado: resolvers, HTTP clients, sockets",
            _suite(
                "tornado",
                *("tornado/test/netutil_test.py", "tornado/test/tcpclient_test.py"),
                "tornado/test/simple_httpclient_test.py",
            ),
        ),
    )
}
