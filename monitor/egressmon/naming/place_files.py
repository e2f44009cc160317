"""What a process's own resolv.conf(5) and hosts(5) say, and how much is believed.

Whoever may write them, or start the container, chooses what is in them. So servers are
believed by who answers there (`dns/trust.py`), domains if nobody outside owns them, and
names if the file is as the engine left it and they lead to no address of the internet.
"""

import ipaddress
import os
import stat
from collections.abc import Callable
from pathlib import Path

from egressmon import files
from egressmon.events.model import Address
from egressmon.naming.names import Resolver, parse_hosts, parse_resolver
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.values import dataclass

_MAX_BYTES = 1 << 16
_MAX_NAMES = 1024
_MAX_SERVERS = 8
_MAX_DOMAINS = 32
_COARSE_NS = 20_000_000
"""By how much a file's time may be behind the clock: a tick, and more."""
# RFC 6762, 8375, 9476 (draft), and what engines call their own networks.
_PRIVATE = ("local", "internal", "home.arpa", "dns.podman")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FIB = Path("/proc/net/fib_trie")


@dataclass(frozen=True, slots=True)
class PlaceFiles:
    """What is believed of the files by which names are looked up in a place."""

    servers: tuple[Address, ...] = ()
    """The DNS servers that it names and that this machine may answer for."""
    search: SearchList = NO_SEARCH
    hosts: tuple[tuple[Address, str], ...] = ()
    reasons: tuple[str, ...] = ()
    """Why not more is believed."""
    is_read: bool = True
    """False: its process was gone; another of the place may still be asked."""
    is_machines: bool = False
    """Whether the process sees the machine's own files, and so none of a container."""


MACHINES = PlaceFiles(
    reasons=("only processes were met there that see the machine's own files",),
    is_read=False,
    is_machines=True,
)
GONE = PlaceFiles(reasons=("its process was gone",), is_read=False)


@dataclass(frozen=True, slots=True)
class Viewer:
    """The process whose files are read."""

    pid: int
    since_ns: int | None
    """When the first program began in its mount namespace, by the wall clock; None:
    that is not known."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A file, and why what it says is not believed; None: it is."""

    text: str
    doubt: str | None


def look(viewer: Viewer, machines: SearchList) -> PlaceFiles:
    """Return what is believed of the files that `viewer` sees.

    `machines` is the machine's own search list.
    """
    root = f"/proc/{viewer.pid}/root"
    try:
        found = files.status(root)
    except OSError:
        return GONE
    here = Path("/").stat()
    own = (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino)
    device = None if own else found.st_dev
    reasons: list[str] = []
    resolver = _resolver(f"{root}/etc/resolv.conf", viewer, device, reasons)
    hosts = _hosts(f"{root}/etc/hosts", viewer, device, reasons)
    if not _is_there(root):
        return GONE
    domains = _domains(resolver.search, machines, reasons)
    return PlaceFiles(
        resolver.servers,
        SearchList(domains, resolver.search.ndots) if domains else NO_SEARCH,
        hosts,
        tuple(reasons),
    )


# Files that are not there may be those of a process that is not there.
def _is_there(root: str) -> bool:
    try:
        os.close(files.open_place(root))
    except OSError:
        return False
    return True


def _resolver(
    path: str, viewer: Viewer, device: int | None, reasons: list[str]
) -> Resolver:
    read = _read(path, viewer, device)
    if isinstance(read, str):
        reasons.append(f"resolv.conf: {read}")
        return Resolver(())
    resolver = parse_resolver(read.text)
    servers = resolver.servers[:_MAX_SERVERS]
    if device is None and read.doubt is None:
        return Resolver(servers, resolver.search)
    local = own_addresses()
    kept = tuple(one for one in servers if one.is_loopback or one in local)
    if len(kept) < len(servers):
        reasons.append("resolv.conf: a server that it names is not on this machine")
    return Resolver(kept, resolver.search)


def _hosts(
    path: str, viewer: Viewer, device: int | None, reasons: list[str]
) -> tuple[tuple[Address, str], ...]:
    read = _read(path, viewer, device)
    if isinstance(read, str):
        reasons.append(f"hosts: {read}")
        return ()
    if read.doubt is not None:
        reasons.append(f"hosts: {read.doubt}")
        return ()
    pairs = parse_hosts(read.text)[:_MAX_NAMES]
    if device is None:
        return tuple(pairs)
    kept = tuple(
        (address, name)
        for address, name in pairs
        if not address.is_global and ("." not in name or _is_private(name))
    )
    if len(kept) < len(pairs):
        reasons.append("hosts: a name or an address of the internet is there")
    return kept


def _domains(
    found: SearchList, machines: SearchList, reasons: list[str]
) -> tuple[str, ...]:
    domains = found.domains[:_MAX_DOMAINS]
    kept = tuple(one for one in domains if one in machines.domains or _is_private(one))
    if len(kept) < len(found.domains):
        reasons.append("resolv.conf: it is not known who owns a domain that it names")
    return kept


def _is_private(domain: str) -> bool:
    return any(domain == one or domain.endswith(f".{one}") for one in _PRIVATE)


# `device` is that of the container's root folder; None: it is the machine's own.
def _read(path: str, viewer: Viewer, device: int | None) -> _Read | str:
    try:
        descriptor = files.open_regular(path)
    except FileNotFoundError:
        return "there is none"
    except (OSError, ValueError):
        return "it could not be read"
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        data = file.read(_MAX_BYTES + 1)
        after = os.fstat(descriptor)
    if len(data) > _MAX_BYTES:
        return f"it is larger than {_MAX_BYTES} bytes"
    if (status.st_ctime_ns, status.st_size) != (after.st_ctime_ns, after.st_size):
        return "it was changed as it was read"
    return _Read(data.decode("utf-8", "replace"), _doubt(status, viewer, device))


def _doubt(status: os.stat_result, viewer: Viewer, device: int | None) -> str | None:
    if status.st_uid or status.st_mode & _OTHERS_MAY_WRITE:
        return "others than root may write it"
    if device is None:
        return None
    if status.st_dev == device:
        return "it is the container's own file, and none that the engine put there"
    if viewer.since_ns is None:
        return "when the container's first program began is not known"
    if status.st_ctime_ns + _COARSE_NS > viewer.since_ns:
        return "it was changed after the container's first program began"
    return None


def own_addresses(read: Callable[[], str] = _FIB.read_text) -> frozenset[Address]:
    """Return the IPv4 addresses of this machine, of the agent's network namespace."""
    try:
        lines = read().splitlines()
    except OSError:
        return frozenset()
    found = set[Address]()
    last = ""
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "|--":
            last = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.add(ipaddress.ip_address(last))
    return frozenset(found)
