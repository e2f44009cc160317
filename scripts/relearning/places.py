"""Two places to run at, which differ in all that a policy should not hang on.

At each, another resolver gives the same short names another search domain, and all
names other addresses. Both are reached from one network namespace, over a wire from
another one, where the servers run: a name server for each place, and HTTP on port 80.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

SHORT = ("pypi", "git", "npm", "deb", "crates", "api.prod")
"""Names that the search domain completes; those with a dot, as they do not exist."""
WHOLE = ("one.cdn.test", "two.cdn.test", "three.cdn.test", "four.cdn.test")
"""Names that are whole."""
_CLIENT = ("10.77.1.1/24", "10.77.2.1/24", "fd00:77::1/64")


@dataclass(frozen=True)
class Place:
    """A network as seen from one machine."""

    name: str
    search: str
    resolver: str
    addresses: tuple[str, ...]
    """The n-th name leads to the n-th, from the beginning again where they end."""

    def leads_to(self) -> dict[str, str]:
        """Return the address of each name."""
        names = [*(f"{one}.{self.search}" for one in SHORT), *WHOLE]
        return {
            name: self.addresses[at % len(self.addresses)]
            for at, name in enumerate(names)
        }


HERE = Place("here", "corp.test", "10.77.1.53", ("10.77.1.2",))
"""All names share one address, as behind a CDN."""
THERE = Place(
    *("there", "lab.other.test", "10.77.2.53"),
    ("10.77.2.2", "fd00:77::2", "10.77.2.3", "fd00:77::3", "10.77.2.4"),
)


class Net:
    """The namespace in which commands run; `folder` gets each place's resolv.conf."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self._namespace = namespace
        self._folder = folder
        for place in (HERE, THERE):
            text = f"nameserver {place.resolver}\nsearch {place.search}\n"
            self._resolv_conf(place).write_text(text, encoding="utf-8")

    def enter(self, place: Place) -> list[str]:
        """Return the words that run what follows as if the machine were at `place`."""
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return [
            *("nsenter", f"--net=/run/netns/{self._namespace}"),
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", script, str(self._resolv_conf(place))),
        ]

    def _resolv_conf(self, place: Place) -> Path:
        return self._folder / f"{place.name}.conf"


@contextmanager
def net(folder: Path, served: Path) -> Generator[Net]:
    """Yield a running network whose HTTP server has the files of `served`."""
    tag = f"relearn{os.getpid()}"
    with ExitStack() as stack:
        client = stack.enter_context(_namespace(f"{tag}c"))
        server = stack.enter_context(_namespace(f"{tag}s"))
        _wire(client, server)
        for place in (HERE, THERE):
            stack.enter_context(_server(server, _name_server(place), "started"))
        web = [sys.executable, "-I", "-u", "-m", "http.server", "--bind", "::"]
        web += ["--directory", str(served), "80"]
        stack.enter_context(_server(server, web, "Serving"))
        yield Net(client, folder)


@contextmanager
def _namespace(name: str) -> Generator[str]:
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        _run("ip", "netns", "del", name)


def _wire(client: str, server: str) -> None:
    link = ("ip", "-n", client, "link", "add", "wire", "type", "veth")
    _run(*link, "peer", "name", "wire", "netns", server)
    ours = [f"{one}/{64 if ':' in one else 24}" for one in _servers()]
    for namespace, addresses in ((client, _CLIENT), (server, ours)):
        for address in addresses:
            # Without duplicate detection an IPv6 address is usable at once.
            nodad = ("nodad",) if ":" in address else ()
            at = ("addr", "add", address, "dev", "wire", *nodad)
            _run("ip", "-n", namespace, *at)
        _run("ip", "-n", namespace, "link", "set", "wire", "up")


def _servers() -> list[str]:
    known = [one for place in (HERE, THERE) for one in place.addresses]
    return [*known, HERE.resolver, THERE.resolver]


def _name_server(place: Place) -> list[str]:
    words = [shutil.which("dnsmasq") or "/usr/sbin/dnsmasq", "--keep-in-foreground"]
    words += ["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]
    words += ["--pid-file=", "--log-facility=-", "--bind-interfaces", "--local=/#/"]
    words += [f"--listen-address={place.resolver}", "--except-interface=lo"]
    pairs = place.leads_to().items()
    return words + [f"--host-record={name},{address}" for name, address in pairs]


# Start words in the namespace and go on when its output says that it is ready.
@contextmanager
def _server(namespace: str, words: Sequence[str], ready: str) -> Generator[None]:
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{namespace}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            said: list[str] = []
            for line in process.stdout or ():
                said.append(line)
                if ready in line:
                    break
            else:
                raise RuntimeError(f"{words[0]} did not start: {said}")
            yield
        finally:
            process.terminate()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
