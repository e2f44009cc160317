"""Try destinations, and say what the kernel says at once. Run, not imported.

tries.py        reads {"tries": [...], "cgroup": folder or null} from standard input
tries.py serve PORT...
                reads a line {"load": ruleset, "tries": [...]} again and again, and
                listens at each PORT

A try is [protocol, address, port]; "http" and "echo" wait for the peer, and the others
tell only whether this machine lets it out: "out", or the name of the error.
"""

import errno
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

PROTOCOLS = {"sctp": 132, "gre": 47}
PATIENCE_S = 5


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _tcp(address: str, port: int) -> None:
    with socket.socket(_family(address), socket.SOCK_STREAM) as client:
        client.setblocking(False)
        said = client.connect_ex((address, port))
        if said in {0, errno.EINPROGRESS}:
            # A reset by this machine is there before connect() returns.
            said = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if said:
            raise OSError(said, "")


def _http(address: str, port: int) -> None:
    host = f"[{address}]" if ":" in address else address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{host}:{port}/", timeout=PATIENCE_S) as page:
        page.read()


def _udp(address: str, port: int) -> None:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.sendto(b"x", (address, port))


def _echo(address: str, port: int) -> None:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.sendto(b"x", (address, port))
        client.recv(9)


def _raw(protocol: str, address: str, port: int) -> None:
    is_v6 = ":" in address
    if protocol == "icmp":
        number, body = (58, b"\x80") if is_v6 else (1, b"\x08")
        # Another one's number: what was answered would go on.
        body += bytes(3) + os.urandom(2) + bytes(2)
    else:
        number, body = PROTOCOLS[protocol], b"\1\1" + port.to_bytes(2, "big") + bytes(8)
    with socket.socket(_family(address), socket.SOCK_RAW, number) as client:
        client.sendto(body, (address, 0))


def _said(error: OSError) -> str:
    inner = getattr(error, "reason", None)  # as urllib wraps them
    number = inner.errno if isinstance(inner, OSError) else error.errno
    return errno.errorcode.get(number or 0, type(inner or error).__name__)


def attempt(protocol: str, address: str, port: int) -> str:
    """Return what comes of it."""
    try:
        if protocol in {"tcp", "http", "udp", "echo"}:
            {"tcp": _tcp, "http": _http, "udp": _udp, "echo": _echo}[protocol](
                address, port
            )
        elif protocol == "name":
            socket.getaddrinfo(address, port)
        else:
            _raw(protocol, address, port)
    except OSError as error:
        return _said(error)
    return "out"


def _serve(ports: list[str]) -> None:
    listening = [
        socket.create_server(
            ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True
        )
        for port in ports
    ]
    for line in sys.stdin:
        asked = json.loads(line)
        done = subprocess.run(
            ["/usr/sbin/nft", "-f", "-"],
            check=False,
            input=asked["load"],
            text=True,
            capture_output=True,
        )
        said: Any = done.stderr
        if done.returncode == 0:
            said = [attempt(*one) for one in asked["tries"]]
        sys.stdout.write(f"{json.dumps(said)}\n")
        sys.stdout.flush()
    for one in listening:
        one.close()


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2:])
        return
    asked = json.load(sys.stdin)
    if asked["cgroup"]:
        Path(asked["cgroup"], "cgroup.procs").write_text(str(os.getpid()))
    sys.stdout.write(json.dumps([attempt(*one) for one in asked["tries"]]))


if __name__ == "__main__":
    main()
