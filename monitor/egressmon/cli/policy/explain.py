"""`egressmon policy explain`: the verdict on a destination."""

import ipaddress
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from egressmon.cli.policy.loading import load_and_remark
from egressmon.cli.requests import ExplainRequest
from egressmon.errors import UsageError
from egressmon.naming.names import read_resolver, trusted_resolvers
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Claimed, Destination, Listener, Origin
from egressmon.policy.language.names import ends_in_number, in_ascii, is_host_name
from egressmon.text import printable

_DESTINATION = re.compile(
    r"(?:\[(?P<inet6>[^\]]+)\]|(?P<host>[^:\[\]/]+))(?:"
    r":(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp|sctp))?|/(?P<portless>icmp))"
)

_LOOPBACK = {
    4: ipaddress.ip_address("127.0.0.1"),
    6: ipaddress.ip_address("::1"),
}


def explain(request: ExplainRequest) -> int:
    """Print the verdict on the destination and the caller that `request` names.

    Returns the exit status: 1 if it is a violation, else 0.
    """
    policy = load_and_remark(request.file).policy
    target = parse_destination(request.destination)
    resolver = read_resolver(Path("/etc/resolv.conf"))
    judge = Judge(policy, trusted_resolvers(policy, resolver), resolver.search)
    verdict = judge.connection(target, asked_origin(request))
    rule = f" by {verdict.rule}" if verdict.rule else ""
    line = f"{verdict.word}{rule}"
    sys.stdout.write(
        f"{printable(request.destination)}: {line}: {printable(verdict.reason)}\n"
    )
    for name in target.names:
        query = judge.query(name, next(iter(judge.resolvers)))
        sys.stdout.write(
            f"looking up {name}: {query.word}: {printable(query.reason)}\n"
        )
    return 1 if verdict.word == "violation" else 0


def asked_origin(request: ExplainRequest) -> Origin:
    """Return the caller that `request` describes; what it leaves out is unknown."""
    return Origin(
        exe=request.exe,
        modules=(request.module,) if request.module else (),
        packages=(request.package,) if request.package else (),
        route=request.route or "unknown",
        bypass=request.bypass,
        claimed=tuple(_claimed(request)) if request.claimed else (),
    )


def _claimed(request: ExplainRequest) -> Iterator[Claimed]:
    for what in ("exe", "module", "package", "route"):
        value = getattr(request, what)
        if value is not None:
            yield Claimed(what, value, "as asked")


def parse_destination(text: str) -> Destination:
    """Return the destination that HOST:PORT[/PROTOCOL] or HOST/icmp names.

    Raises UsageError.
    """
    match = _DESTINATION.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or not (port is None or 0 < port < 65536):
        raise UsageError(
            f"{printable(text)}: not a destination",
            "write HOST:PORT, HOST:PORT/udp or HOST/icmp, an IPv6 address in brackets",
        )
    host = match["inet6"] or match["host"]
    protocol = match["portless"] or match["protocol"] or "tcp"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Names are not resolved here: a host is judged by its name only.
        return Destination(None, port, protocol, (_host_name(host),))
    if address.version == 6:
        # As it leaves: IPv4 if it is mapped, and no device is part of it.
        address = address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    if address.is_unspecified:
        # The kernel connects to this machine instead, by the loopback address.
        address = _LOOPBACK[address.version]
    listener: Listener | None = "outside" if address.is_loopback else None
    return Destination(address, port, protocol, (), listener)


def _host_name(text: str) -> str:
    try:
        name = in_ascii(text, text)
    except ValueError as error:
        raise UsageError(printable(error), "write a host name or an address") from error
    if ends_in_number(name) or not is_host_name(name):
        raise UsageError(
            f"{printable(text)}: neither a host name nor a whole address",
            "write a host name, or an address such as 192.0.2.7",
        )
    return name
