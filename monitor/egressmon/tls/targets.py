"""Which hosts are asked: as named on the command line, or by a policy's entries."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from egressmon.errors import UsageError
from egressmon.policy.errors import RefusedError
from egressmon.policy.language.names import (
    covers,
    ends_in_number,
    in_ascii,
    is_host_name,
)
from egressmon.policy.language.ports import Ports, parse_ports
from egressmon.text import printable

if TYPE_CHECKING:
    from egressmon.policy.language.model import Allow, Deny

_NAMED = re.compile(
    r"(?:\[(?P<inet6>[^\[\]]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
# Where a conversation does not begin with a handshake: FTP, SSH, SMTP, DNS, HTTP, POP3,
# IMAP, LDAP, submission (IANA's registry of service names).
_PLAIN = frozenset({21, 22, 25, 53, 80, 110, 143, 389, 587})
_WIDEST = 16
"""A range of more ports than this is not tried port by port."""
_MAX_COVERED = 100


class Target(NamedTuple):
    """A host, by its name in canonical form or its address, and a port."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """The target as HOST:PORT, with an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether no name is known, so that none can be asked for."""
        return ":" in self.host or ends_in_number(self.host)


class Unchecked(NamedTuple):
    """An entry of a policy that names no host to connect to, and why."""

    entry: str
    reason: str


def parse_target(text: str) -> Target:
    """Return what HOST:PORT names; raises UsageError.

    A name may be internationalised; an IPv6 address stands in brackets.
    """
    match = _NAMED.fullmatch(text)
    port = int(match["port"]) if match else 0
    if match is None or not 0 < port < 1 << 16:
        raise UsageError(
            f"{printable(text)}: not a host and a port",
            "write HOST:PORT, such as example.org:443, an IPv6 address in brackets",
        )
    host = match["inet6"] or match["host"]
    try:
        return Target(str(ipaddress.ip_address(host)), port)
    except ValueError:
        return Target(_name(host), port)


def _name(text: str) -> str:
    try:
        name = in_ascii(text, text)
    except RefusedError as error:
        raise UsageError(printable(error), "write a host name or an address") from error
    if ends_in_number(name) or not is_host_name(name):
        raise UsageError(
            f"{printable(text)}: neither a host name nor a whole address",
            "write a host name, or an address such as 192.0.2.7",
        )
    return name


def allowed_targets(
    allow: Iterable["Allow"], deny: Iterable["Deny"], known: Iterable[str] = ()
) -> Iterator[Target | Unchecked]:
    """Yield the hosts that a policy allows by exact name, each port once.

    A wildcard stands for those of the `known` names that it covers. What names no one
    host and port is yielded as Unchecked: nothing is passed over without a word.
    """
    choosing = _Choosing(deny, known)
    seen: set[Target] = set()
    for number, rule in enumerate(allow):
        for one in choosing.of_rule(rule, f"allow[{number}]"):
            if isinstance(one, Unchecked) or one not in seen:
                yield one
            if isinstance(one, Target):
                seen.add(one)


class _Choosing:
    def __init__(self, deny: Iterable["Deny"], known: Iterable[str]) -> None:
        self._denied = [rule.host for rule in deny if rule.host is not None]
        self._known = sorted(set(known))

    def of_rule(self, rule: "Allow", entry: str) -> Iterator[Target | Unchecked]:
        if rule.host is None:
            yield Unchecked(entry, "addresses have no name to ask for")
            return
        entry = f"{entry} {rule.host}"
        if rule.protocol not in {"tcp", "any"}:
            yield Unchecked(entry, f"{rule.protocol} is not TCP")
            return
        names = [rule.host]
        if "*" in rule.host:
            covered = [one for one in self._known if covers(rule.host, one)]
            names = [*filter(is_host_name, covered)]
            if odd := len(covered) - len(names):
                yield Unchecked(entry, f"{odd} known names are none of hosts")
            if not covered:
                yield Unchecked(entry, "a wildcard names no one host")
            if (more := len(names) - _MAX_COVERED) > 0:
                yield Unchecked(entry, f"it covers {more} more known names")
        for name in names[:_MAX_COVERED]:
            if any(covers(pattern, name) for pattern in self._denied):
                yield Unchecked(entry, "a deny entry covers it, too")
            else:
                yield from _of_ports(name, rule.ports, entry)


def _of_ports(host: str, ports: Ports, entry: str) -> Iterator[Target | Unchecked]:
    for low, high in parse_ports(ports):
        if high - low >= _WIDEST:
            yield Unchecked(entry, f"ports {low}-{high}: name one with HOST:PORT")
            continue
        for port in range(low, high + 1):
            if port in _PLAIN:
                why = f"port {port} does not begin with a handshake"
                yield Unchecked(entry, why)
            else:
                yield Target(host, port)
