"""A network in which every name leads to the stand-in for a vendor.

Two namespaces with a wire between them: commands run in one, a name server and
`vendor.py` in the other. Nothing else can be reached. As each name that is asked for
leads somewhere, a program that wants to report home is seen to connect there.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMES = ("api.anthropic.com", "api.openai.com")
"""Whose certificates the stand-in has."""
SERVER4, SERVER6 = "10.213.7.2", "fd00:213:7::2"
RESOLVER = "10.213.7.53"  # of its own, as no name leads to it
PROXY = "proxy.example.test"
_CLIENT = ("10.213.7.1/24", "fd00:213:7::1/64")
_VENDOR = Path(__file__).parent / "vendor.py"


@dataclass(frozen=True)
class Network:
    """A running network, seen from the commands' side."""

    namespace: str
    folder: Path
    """Has `resolv.conf`, and `ca.pem`, the authority of the stand-in's certificates."""

    def enter(self) -> list[str]:
        """Return the words that run what follows in the commands' namespace."""
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return [
            *("nsenter", f"--net=/run/netns/{self.namespace}"),
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", script, str(self.folder / "resolv.conf")),
        ]

    def trusting(self) -> dict[str, str]:
        """Return the variables by which Python and Node trust the stand-in."""
        path = str(self.folder / "ca.pem")
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, path)


@contextmanager
def network(folder: Path, names: Sequence[str] = NAMES) -> Generator[Network]:
    """Yield a network whose stand-in has certificates for `names`, and take it down."""
    tag = f"surf{os.getpid()}"
    (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n", encoding="utf-8")
    _certify(folder, names)
    with ExitStack() as stack:
        client = stack.enter_context(_namespace(f"{tag}c"))
        server = stack.enter_context(_namespace(f"{tag}s"))
        _wire(client, server)
        stack.enter_context(_server(server, _name_server(), "started"))
        vendor = [sys.executable, "-I", str(_VENDOR)]
        vendor += [str(folder / "leaf.pem"), str(folder / "leaf.key")]
        stack.enter_context(_server(server, vendor, "ready"))
        yield Network(client, folder)


def _name_server() -> list[str]:
    # As --no-daemon it changes no ids, which would drop the signal of our end.
    words = [shutil.which("dnsmasq") or "/usr/sbin/dnsmasq", "--no-daemon"]
    words += ["--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    words += ["--pid-file=", "--log-facility=-"]
    return [*words, f"--address=/#/{SERVER4}", f"--address=/#/{SERVER6}"]


# An authority that is made for this run, and a certificate of it for the names.
def _certify(folder: Path, names: Sequence[str]) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    ca, ca_key = str(folder / "ca.pem"), str(folder / "ca.key")
    new = ("openssl", "req", "-x509", "-days", "2", *key)
    _run(*new, "-subj", "/CN=stand-in authority", "-keyout", ca_key, "-out", ca)
    alternatives = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    signed = ("-CA", ca, "-CAkey", ca_key, "-addext", alternatives)
    usage = ("-addext", "basicConstraints=critical,CA:FALSE")
    leaf = ("-keyout", str(folder / "leaf.key"), "-out", str(folder / "leaf.pem"))
    _run(*new, "-subj", f"/CN={names[0]}", *signed, *usage, *leaf)


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
    ours = (f"{SERVER4}/24", f"{RESOLVER}/24", f"{SERVER6}/64")
    for namespace, addresses in ((client, _CLIENT), (server, ours)):
        for address in addresses:
            # Without duplicate detection an IPv6 address is usable at once.
            nodad = ("nodad",) if ":" in address else ()
            at = ("addr", "add", address, "dev", "wire", *nodad)
            _run("ip", "-n", namespace, *at)
        _run("ip", "-n", namespace, "link", "set", "wire", "up")


# Start words in the namespace and go on when its output says that it is ready. They end
# with this process, even if it is killed.
@contextmanager
def _server(namespace: str, words: Sequence[str], ready: str) -> Generator[None]:
    enter = ("nsenter", f"--net=/run/netns/{namespace}")
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *enter, *words],
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
