"""Two network namespaces with a wire between them, a DNS server and real peers."""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_LABS = map(chr, itertools.count(ord("a")))

SERVER4 = "10.213.7.2"
SERVER6 = "fd00:213:7::2"
OTHER4 = "10.213.7.3"  # a second address of the server, which no name leads to
CLIENT4 = "10.213.7.1"
CLIENT6 = "fd00:213:7::1"
HTTP_PORT = 80
OTHER_PORT = 8081
UDP_PORT = 9000
CROWD = 4000  # how many addresses crowd.example.test has: an answer of 64 kB

_RECORDS = (
    f"--host-record=api.example.test,{SERVER4},{SERVER6}",
    f"--host-record=four.example.test,{SERVER4}",
    f"--host-record=late.example.test,{SERVER4}",
    f"--host-record=db.corp.example.test,{SERVER4}",
    f"--host-record=db.other.example.test,{OTHER4}",
    # Below a search domain whose owner likes whole names.
    f"--host-record=api.example.test.other.example.test,{OTHER4}",
    f"--host-record=gone.example.test.other.example.test,{OTHER4}",
    f"--host-record=six.example.test,{SERVER6}",
    f"--host-record=evil.example.test,{SERVER4},{SERVER6}",
    "--cname=www.example.test,cdn.example.test",
    "--cname=cdn.example.test,api.example.test",
    "--txt-record=big.example.test," + ",".join(["x" * 200] * 10),
    "--local=/test/",
)


def _crowd() -> str:
    return "".join(
        f"10.213.{16 + n // 250}.{n % 250 + 1} crowd.example.test\n"
        for n in range(CROWD)
    )


@dataclass(frozen=True)
class Lab:
    """The test network, seen from the client's side."""

    client: str
    server: str
    folder: Path

    def enter(self) -> list[str]:
        """Return the words that run what follows in the client's namespace."""
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return [
            *("nsenter", f"--net=/run/netns/{self.client}"),
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", script, str(self.folder / "resolv.conf")),
        ]


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def _namespace(name: str) -> Generator[str]:
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        _run("ip", "netns", "del", name)


# Start words in the namespace and return when its output says that it is ready.
@contextmanager
def _server(namespace: str, words: Sequence[str], ready: str) -> Generator[None]:
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{namespace}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if ready in line:
                break
        else:
            raise AssertionError(f"{words[0]} did not start: {said}")
        yield
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()


def name_server(
    namespace: str, *options: str, prefix: Sequence[str] = ()
) -> AbstractContextManager[None]:
    """Run a DNS server with the lab's names in a namespace, by way of `prefix`."""
    dnsmasq = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
    words = [*prefix, dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null"]
    words += ["--no-resolv", "--no-hosts", "--user=root", "--pid-file="]
    words += ["--log-facility=-", *_RECORDS, *options]
    return _server(namespace, words, "started")


def _wire(client: str, server: str) -> None:
    _run(
        *("ip", "-n", client, "link", "add", "wire", "type", "veth"),
        *("peer", "name", "wire", "netns", server),
    )
    ends = (
        (client, (f"{CLIENT4}/24", f"{CLIENT6}/64")),
        (server, (f"{SERVER4}/24", f"{OTHER4}/24", f"{SERVER6}/64")),
    )
    for namespace, addresses in ends:
        for address in addresses:
            # Without duplicate detection an IPv6 address is usable at once.
            nodad = ("nodad",) if ":" in address else ()
            _run(
                *("ip", "-n", namespace, "addr", "add", address),
                *("dev", "wire", *nodad),
            )
        _run("ip", "-n", namespace, "link", "set", "wire", "up")


@contextmanager
def lab() -> Generator[Lab]:
    """Yield a running test network, and take it down."""
    tag = f"egm{os.getpid()}{next(_LABS)}"
    folder = Path(tempfile.mkdtemp(prefix="egressmon-lab-"))
    folder.chmod(0o755)
    try:
        (folder / "resolv.conf").write_text(f"nameserver {SERVER4}\n")
        (folder / "crowd").write_text(_crowd())
        with ExitStack() as stack:
            client = stack.enter_context(_namespace(f"{tag}c"))
            server = stack.enter_context(_namespace(f"{tag}s"))
            _wire(client, server)
            crowd = f"--addn-hosts={folder}/crowd"
            stack.enter_context(name_server(server, crowd))
            peers = [sys.executable, str(HERE / "peers.py")]
            ports = [str(HTTP_PORT), str(OTHER_PORT), str(UDP_PORT)]
            stack.enter_context(_server(server, [*peers, *ports], "ready"))
            yield Lab(client, server, folder)
    finally:
        shutil.rmtree(folder)
