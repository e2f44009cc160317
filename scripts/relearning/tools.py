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
    program: str
    """Without it, the tool is left out."""
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
_CARGO = (
    '[source.crates-io]\\nreplace-with = "demo"\\n'
    '[source.demo]\\nregistry = "sparse+http://crates/index/"\\n'
)
_MANIFEST = (
    '[package]\\nname = "user"\\nversion = "0.1.0"\\nedition = "2021"\\n'
    '[lib]\\npath = "lib.rs"\\n[dependencies]\\ndemo = "1"\\n'
)
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


_THREADS = f"""
import requests
from concurrent.futures import ThreadPoolExecutor
def fetch(name):
    requests.get(f"http://{{name}}/page").raise_for_status()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(fetch, {WHOLE!r}))
"""
_FETCH = f"""
const fetched = {list(WHOLE)!r}.map((name) => fetch(`http://${{name}}/page`));
Promise.all(fetched.map((one) => one.then((answer) => answer.text())));
"""


def _python(suite: str, program: str, cache: Path) -> Command:
    return Command((str(_ready(suite, cache).python), "-c", program))


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "pip",
            sys.executable,
            "pip download, from an index by a short name",
            _shell(_PIP),
        ),
        Tool(
            "git",
            "git",
            "git clone over HTTP, by a short name",
            _shell("git clone -q http://git/demo.git clone"),
        ),
        Tool(
            "npm",
            "npm",
            "npm install, from a registry by a short name",
            _shell(
                "export HOME=$PWD npm_config_update_notifier=false",
                "npm install --silent --registry=http://npm/ demo",
            ),
        ),
        Tool(
            "apt",
            "apt-get",
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
            "make",
            "make -j4 with a curl for each of four names, which share an address",
            _shell(f"printf '{_MAKE}\\n' >Makefile", "make -s -j4"),
        ),
        Tool(
            "cargo",
            "cargo",
            "cargo fetch, from a registry by a short name",
            _shell(
                "mkdir home",
                f"printf '{_CARGO}' >home/config.toml",
                f"printf '{_MANIFEST}' >Cargo.toml",
                "touch lib.rs",
                "CARGO_HOME=$PWD/home cargo -q fetch",
            ),
        ),
        Tool(
            "curl",
            "curl",
            "by a name with a dot, which only the search domain completes",
            _shell("curl -sSf http://api.prod/page"),
        ),
        Tool(
            "wget",
            "wget",
            "one wget for four names, which share an address",
            _shell("wget -q " + " ".join(f"http://{name}/page" for name in WHOLE)),
        ),
        Tool(
            "node",
            "node",
            "one process fetches by the four names at once",
            lambda _: Command(("node", "-e", _FETCH)),
        ),
        Tool(
            "aiohttp",
            sys.executable,
            "the same with asyncio: look-ups in a pool of threads",
            lambda cache: _python("aiohttp", _GATHER, cache),
        ),
        Tool(
            "requests",
            sys.executable,
            "the same with four threads: each looks up and connects",
            lambda cache: _python("requests", _THREADS, cache),
        ),
        Tool(
            "requests-suite",
            sys.executable,
            "the suite of requests, its main file",
            _suite("requests", "tests/test_requests.py", "-k", "not TestTimeout"),
        ),
        Tool(
            "tornado-suite",
            sys.executable,
            "the suite of tornado: resolvers, HTTP clients, sockets",
            _suite(
                "tornado",
                *("tornado/test/netutil_test.py", "tornado/test/tcpclient_test.py"),
                "tornado/test/simple_httpclient_test.py",
                # Without what fails where a TLS handshake takes 0.1 s.
                *("-k", "not test_request_timeout"),
            ),
        ),
    )
}
