"""What a packet filter can do of a policy, for every filter alike, and what it cannot.

A filter sees addresses, ports and protocols, and who owns a socket at most. A plan says
what it is to admit and to refuse; each difference from the policy is a note in it.
"""

import ipaddress
from collections.abc import Iterable

from egressmon.filters.differences import differences
from egressmon.filters.model import Addresses, Loopback, Note, Plan, Ranges, Rule
from egressmon.policy.judging.pointers import Address
from egressmon.policy.language.model import Allow, Deny, Policy
from egressmon.policy.language.names import covers
from egressmon.policy.language.ports import parse_ports


def plan_of(
    policy: Policy,
    resolvers: Iterable[Address],
    given: Iterable[str] = (),
    *,
    whole: bool,
    narrow: bool = False,
) -> Plan:
    """Return what a filter can do of `policy`.

    `resolvers` are the trusted DNS servers. `given` are names whose addresses the user
    said: wildcards hold for these. `whole`: the filter is for the whole machine.
    `narrow`: leave out what would let more through than the policy does.
    """
    known = tuple(dict.fromkeys((*_exact(policy), *given)))
    denied = tuple(
        _rule(f"deny[{at}]", entry, known) for at, entry in enumerate(policy.deny)
    )
    allowed = tuple(
        _rule(f"allow[{at}]", entry, known)
        for at, entry in enumerate(policy.allow)
        if not (narrow and entry.by)
    )
    sources = policy.accept.sources
    return Plan(
        denied=denied,
        allowed=allowed,
        resolvers=tuple(sorted(resolvers, key=_by_number)),
        loopback=_loopback(policy, whole=whole, narrow=narrow),
        sources=sources
        if isinstance(sources, str)
        else tuple(map(ipaddress.ip_network, sources)),
        notes=differences(policy, (*denied, *allowed), whole=whole, narrow=narrow),
    )


def shared_addresses(plan: Plan, addresses: Addresses) -> tuple[Note, ...]:
    """Return a note for each address that two of the plan's names lead to."""
    owners: dict[Address, list[str]] = {}
    for host in plan.hosts():
        for address in addresses.get(host, ()):
            owners.setdefault(address, []).append(host)
    denied = {host for rule in plan.denied for host in rule.hosts}
    return tuple(
        _shared(address, hosts, denied)
        for address, hosts in owners.items()
        if len(hosts) > 1
    )


def _shared(address: Address, hosts: list[str], denied: set[str]) -> Note:
    listed = ", ".join(hosts[:3]) + (" and more" if len(hosts) > 3 else "")
    if denied.intersection(hosts) and not denied.issuperset(hosts):
        text = f"{address} is of {listed}: all are refused what is denied to one"
        return Note("narrower", "deny.host", text)
    text = f"{address} is of {listed}: what one of them may is allowed to all"
    return Note("wider", "allow.host", text)


# The names that a wildcard of the policy may cover, and that a filter can look up.
def _exact(policy: Policy) -> list[str]:
    hosts = [entry.host for entry in (*policy.allow, *policy.deny) if entry.host]
    return [host for host in hosts if "*" not in host]


def _rule(name: str, entry: Allow | Deny, known: tuple[str, ...]) -> Rule:
    host = entry.host
    return Rule(
        name=name,
        target=host or entry.cidr or "",
        reason=entry.reason,
        protocol=entry.protocol,
        ports=_apart(parse_ports(entry.ports)),
        network=ipaddress.ip_network(entry.cidr) if entry.cidr else None,
        hosts=tuple(one for one in known if covers(host, one)) if host else (),
    )


# Filters refuse a list of ranges that overlap.
def _apart(ranges: Ranges) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return tuple(merged)


# That a listener is in the scope holds for all of them if the machine is the scope.
# Who receives ICMP, broadcasts and multicasts is never known.
def _loopback(policy: Policy, *, whole: bool, narrow: bool) -> Loopback:
    mode = policy.local.listeners
    if mode == "any":
        return "open"
    if mode == "deny" or (narrow and not whole):
        return "closed"
    return "sockets"


def _by_number(address: Address) -> tuple[int, int]:
    return address.version, int(address)
