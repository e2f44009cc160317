"""What strace saw: the TCP connects that the kernel took up, by thread."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# One file for each thread, so that no call is cut in two; the protocol of each socket.
OPTIONS = ("-ff", "-A", "-qq", "--seccomp-bpf", "-e", "trace=connect", "-yy", "-ttt")
# A socket that has a peer already (->) is asked again: after a signal, or to no effect.
_CALL = re.compile(
    r"connect\(\d+<TCP(?:v6)?:\[(?:(?!->)[^>])*>.*?sin6?_port=htons\((\d+)\).*?"
    r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)".*?\) = (-?\d+|\?)(?: (E\w+))?'
)
# The call ends before the kernel has looked at the peer: no attempt to reach it.
_NO_ATTEMPT = {
    *("EALREADY", "EISCONN", "EBADF", "EFAULT", "ENOTSOCK"),
    *("EINVAL", "EAFNOSUPPORT"),
}


class Connect(NamedTuple):
    """A TCP connect of a thread, in the kernel's numbers."""

    tid: int
    ip: str
    port: int


def parse(line: str, tid: int) -> Connect | None:
    """Return the connect in a line of `tid`'s; None: another call, or no attempt."""
    found = _CALL.search(line)
    if found is None or found[4] in _NO_ATTEMPT:
        return None
    return Connect(tid, plain(found[2]), int(found[1]))


def plain(ip: str) -> str:
    """Return an address as evidence has it: IPv4, if mapped, and where "any" leads."""
    plain = ip.removeprefix("::ffff:") if "." in ip else ip
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(plain, plain)  # noqa: S104


def read(folder: Path) -> Iterator[Connect]:
    """Yield the connects in the files that strace left in `folder`, each NAME.TID."""
    for path in sorted(folder.iterdir()):
        tid = int(path.suffix[1:])
        with path.open(errors="replace") as file:
            found = (parse(line, tid) for line in file)
            yield from (one for one in found if one is not None)
