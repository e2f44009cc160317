"""Which hosts are asked: as named on the command line, or by a policy's entries."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

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

_NAMED = re.compile(
    r"(?:\[(?P<inet6>[^\[\]]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
# Where a conversation does not begin with a handshake: FTP, SSH, SMTP, DNS, HTTP, POP3,
# IMAP, LDAP, submission (IANA's registry of service names).
_PLAIN = frozenset({21, 22, 25, 53, 80, 110, 143, 389, 587})
_WIDEST = 16
"""A range of more ports than this is not tried port by port."""


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


class Rule(Protocol):
    """What is needed of a policy's allow and deny entries."""

    @property
    def host(self) -> str | None:
        """The name or pattern, in canonical form."""

    @property
    def ports(self) -> Ports:
        """As the policy has them."""

    @property
    def protocol(self) -> Literal["tcp", "udp", "sctp", "icmp", "any"]:
        """Of which protocol."""


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
    allow: Iterable[Rule], deny: Iterable[Rule]
) -> Iterator[Target | Unchecked]:
    """Yield the hosts that a policy allows by exact name, each port once.

    What names no single host and port is yielded as Unchecked, so that nothing is
    passed over without a word.
    """
    denied = [rule.host for rule in deny if rule.host is not None]
    seen: set[Target] = set()
    for number, rule in enumerate(allow):
        entry = f"allow[{number}]"
        if rule.host is None:
            yield Unchecked(entry, "addresses have no name to ask for")
        elif "*" in rule.host:
            yield Unchecked(f"{entry} {rule.host}", "a wildcard names no one host")
        elif rule.protocol not in {"tcp", "any"}:
            yield Unchecked(f"{entry} {rule.host}", f"{rule.protocol} is not TCP")
        elif any(covers(pattern, rule.host) for pattern in denied):
            yield Unchecked(f"{entry} {rule.host}", "a deny entry covers it, too")
        else:
            for one in _of_ports(rule.host, rule.ports, entry):
                if isinstance(one, Unchecked) or one not in seen:
                    yield one
                if isinstance(one, Target):
                    seen.add(one)


def _of_ports(host: str, ports: Ports, entry: str) -> Iterator[Target | Unchecked]:
    for low, high in parse_ports(ports):
        if high - low >= _WIDEST:
            yield Unchecked(
                f"{entry} {host}", f"ports {low}-{high}: name one with HOST:PORT"
            )
            continue
        for port in range(low, high + 1):
            if port in _PLAIN:
                yield Unchecked(
                    f"{entry} {host}", f"port {port} does not begin with a handshake"
                )
            else:
                yield Target(host, port)
