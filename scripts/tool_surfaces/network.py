"""The network of a run: one wire, at whose other end is a server for everything."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stand_in import RESOLVER

CLIENT = "198.51.100.254/24"
_SERVED = "198.51.100.0/25"


@contextmanager
def network(folder: Path) -> Generator[Path]:
    """Yield the certificate of the authority that all servers have theirs from.

    It needs a network namespace of its own; what it makes goes to `folder`.
    """
    _authority(folder)
    script = (
        f'ip link set lo up && exec "$0" -s {Path(__file__).parent}/stand_in.py "$1"'
    )
    words = ["unshare", "--net", "bash", "-c", script, sys.executable, str(folder)]
    with (folder / "requests").open("w") as requests:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=requests,
            text=True,
        )
        with process:
            try:
                _wait_for(process, "ready")
                _wire(process.pid)
                _tell(process)
                _wait_for(process, "serving")
                yield folder / "ca.pem"
            finally:
                process.terminate()


def _authority(folder: Path) -> None:
    folder.mkdir(parents=True)
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"]
    words += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=surfaces"]
    words += ["-addext", "keyUsage=critical,keyCertSign"]
    words += ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem")]
    subprocess.run(words, check=True, capture_output=True)
    folder.chmod(0o755)


def _wait_for(process: subprocess.Popen[str], word: str) -> None:
    said = process.stdout.readline() if process.stdout is not None else ""
    if said.strip() != word:
        raise RuntimeError(f"the stand-in did not start: it said {said!r}")


def _tell(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.write("\n")
        process.stdin.flush()


def _wire(server: int) -> None:
    add = ("ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire")
    _run(*add, "netns", str(server))
    _run("ip", "addr", "add", CLIENT, "dev", "wire")
    _run("ip", "link", "set", "wire", "up")
    # As on a machine that is on the internet: some look for a way there first.
    _run("ip", "route", "add", "default", "via", RESOLVER)
    there = ("nsenter", f"--net=/proc/{server}/ns/net", "ip")
    _run(*there, "addr", "add", f"{RESOLVER}/24", "dev", "wire")
    _run(*there, "link", "set", "wire", "up")
    _run(*there, "route", "add", "local", _SERVED, "dev", "lo")


def _run(*words: str) -> None:
    subprocess.run(words, check=True)
