"""Two places to run at, which differ in all that a policy should not hang on.

At each, another resolver gives the same short names another search domain, and all
names other addresses. Both are reached from one network namespace, over a wire from
another one, where the servers run: a name server for each place, and HTTP on port 80.
"""

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wired import entering, served, wired

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
        return entering(self._namespace, self._resolv_conf(place))

    def _resolv_conf(self, place: Place) -> Path:
        return self._folder / f"{place.name}.conf"


@contextmanager
def net(folder: Path, files: Path) -> Generator[Net]:
    """Yield a running network whose HTTP server has what is in the folder `files`."""
    tag = f"relearn{os.getpid()}"
    with ExitStack() as stack:
        client = stack.enter_context(wired(tag, _CLIENT, _servers()))
        for place in (HERE, THERE):
            stack.enter_context(served(client, _name_server(place), "started"))
        web = [sys.executable, "-I", "-u", "-m", "http.server", "--bind", "::"]
        web += ["--directory", str(files), "80"]
        stack.enter_context(served(client, web, "Serving"))
        yield Net(client, folder)


def _servers() -> list[str]:
    known = [one for place in (HERE, THERE) for one in place.addresses]
    all_of_them = [*known, HERE.resolver, THERE.resolver]
    return [f"{one}/{64 if ':' in one else 24}" for one in all_of_them]


def _name_server(place: Place) -> list[str]:
    # As --no-daemon it changes no ids, which would drop the signal of our end.
    words = [shutil.which("dnsmasq") or "/usr/sbin/dnsmasq", "--no-daemon"]
    words += ["--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    words += ["--pid-file=", "--log-facility=-", "--bind-interfaces", "--local=/#/"]
    words += [f"--listen-address={place.resolver}", "--except-interface=lo"]
    pairs = place.leads_to().items()
    return words + [f"--host-record={name},{address}" for name, address in pairs]
