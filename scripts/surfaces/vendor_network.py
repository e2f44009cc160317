"""A network in which every name leads to the stand-in for a vendor.

Two namespaces with a wire between them: commands run in one, a name server and
`vendor.py` in the other. Nothing else can be reached. As each name that is asked for
leads somewhere, a program that wants to report home is seen to connect there.
"""

import os
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wired import entering, run, served, wired

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
        return entering(self.namespace, self.folder / "resolv.conf")

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
    theirs = (f"{SERVER4}/24", f"{RESOLVER}/24", f"{SERVER6}/64")
    with ExitStack() as stack:
        client = stack.enter_context(wired(tag, _CLIENT, theirs))
        stack.enter_context(served(client, _name_server(), "started"))
        vendor = [sys.executable, "-I", str(_VENDOR)]
        vendor += [str(folder / "leaf.pem"), str(folder / "leaf.key")]
        stack.enter_context(served(client, vendor, "ready"))
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
    run(*new, "-subj", "/CN=stand-in authority", "-keyout", ca_key, "-out", ca)
    alternatives = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    signed = ("-CA", ca, "-CAkey", ca_key, "-addext", alternatives)
    usage = ("-addext", "basicConstraints=critical,CA:FALSE")
    leaf = ("-keyout", str(folder / "leaf.key"), "-out", str(folder / "leaf.pem"))
    run(*new, "-subj", f"/CN={names[0]}", *signed, *usage, *leaf)
