"""The policy as a ruleset of nftables: text that nft(8) loads in one transaction.

One table, `inet egressmon`. Its chains look at what leaves, before its destination is
translated, as the policy speaks of what the program named:

    output      whose traffic it is; all other passes
    judged      the policy, in the order of its judge
    replies     to those who connected (`accept.from`)
    denied      `deny` entries
    translated  `deny` entries once more, for where NAT sends it
    refused     counted, and answered so that the client fails at once
"""

from collections.abc import Iterable, Iterator, Mapping

from egressmon.filters.model import Plan, Ranges, Rule
from egressmon.filters.scopes import Scope
from egressmon.filters.wording import described, line, quoted
from egressmon.policy.judging.pointers import Address
from egressmon.values import dataclass

TABLE = "inet egressmon"
_BEFORE_NAT, _AFTER_NAT = -110, 10
_WITH_PORTS = "{ tcp, udp, sctp, udplite, dccp }"
_ICMP = "{ icmp, ipv6-icmp }"
_NEIGHBOURS = (
    "{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, "
    "mld-listener-report, mld-listener-done, mld2-listener-report }"
)
_KERNELS_OWN = (
    # Neighbours, routers and groups; to a machine's IPv6 they are what ARP is to IPv4.
    f"icmpv6 type {_NEIGHBOURS} accept",
    f"meta l4proto {_ICMP} ct state related accept",
    "ct direction reply tcp flags & (syn | rst) == rst accept",
)
"""What the kernel sends by itself, which belongs to no user and no cgroup."""

Lifetimes = Mapping[Address, int | None]
"""Addresses, and for how many seconds each is believed; None: until they change."""
Elements = Mapping[str, Lifetimes]
"""The addresses in each set, by its name."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What the text says of itself."""

    file: str
    mark: str
    """The comment of the table, by which it is known again."""
    scope: Scope


def ruleset(plan: Plan, heading: Heading, elements: Elements) -> str:
    """Return the whole text: it replaces the table as a whole, or not at all."""
    lines = [
        f"table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        f"\tcomment {quoted(heading.mark)}",
        *_indented(_sets(plan)),
        *_indented(_chains(plan, heading.scope)),
        "}",
        *_additions(elements),
    ]
    return _introduction(plan, heading) + "\n".join(lines) + "\n"


def refreshment(plan: Plan, scope: Scope, elements: Elements) -> str:
    """Return the text that replaces the addresses of an applied filter, and no more.

    So counters go on. A cgroup is named anew: a filter knows it by a number, and it may
    have been made again since.
    """
    lines = [f"flush set {TABLE} {name}" for name in set_names(plan)]
    lines += [*_additions(elements)]
    for chain, rest in _entrances(plan):
        lines += [
            f"flush chain {TABLE} {chain}",
            f"add rule {TABLE} {chain} {_matching(scope)}{rest}",
        ]
    return "\n".join(lines) + "\n"


def set_names(plan: Plan) -> Iterator[str]:
    """Yield the names of all sets: two for each rule with a host, and the resolvers."""
    for rule in (*plan.denied, *plan.allowed):
        if rule.network is None:
            yield from (set_name(rule, 4), set_name(rule, 6))
    yield from (f"resolvers_{version}" for version in (4, 6))


def set_name(rule: Rule, version: int) -> str:
    """Return the name of the set with the rule's addresses of that IP `version`."""
    return f"{rule.name.replace('[', '').replace(']', '')}_{version}"


def _introduction(plan: Plan, heading: Heading) -> str:
    said = [
        f"egressmon policy nftables: {heading.file}",
        f"{heading.mark}; for {heading.scope}",
        *map(str, plan.notes),
    ]
    return "".join(map(line, said))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"\t{one}" for one in lines)


def _sets(plan: Plan) -> Iterator[str]:
    for rule in (*plan.denied, *plan.allowed):
        if rule.network is None:
            shown = quoted(f"{rule.name} {rule.target}")
            for version in (4, 6):
                yield (
                    f"set {set_name(rule, version)} {{ type ipv{version}_addr; "
                    f"flags timeout; comment {shown}; }}"
                )
    for version in (4, 6):
        yield f"set resolvers_{version} {{ type ipv{version}_addr; }}"


def _additions(elements: Elements) -> Iterator[str]:
    for name, lifetimes in elements.items():
        if lifetimes:
            listed = ", ".join(
                str(address) if seconds is None else f"{address} timeout {seconds}s"
                for address, seconds in lifetimes.items()
            )
            yield f"add element {TABLE} {name} {{ {listed} }}"


def _chains(plan: Plan, scope: Scope) -> Iterator[str]:
    priorities = {"output": _BEFORE_NAT, "translated": _AFTER_NAT}
    for name, rest in _entrances(plan):
        hook = f"type filter hook output priority {priorities[name]}; policy accept;"
        yield from _chain(name, [hook, f"{_matching(scope)}{rest}"])
    yield from _chain("judged", _judged(plan, scope))
    yield from _chain("replies", _replies(plan))
    yield from _chain("denied", _each(plan.denied, "counter goto refused"))
    yield from _chain(
        "refused",
        (
            # Over IPv6, an ICMP error would only count at the next SYN, after 1 s.
            "meta l4proto tcp counter reject with tcp reset",
            "counter reject with icmpx type admin-prohibited",
        ),
    )


# The chains that a packet comes to first, and what they do with those of the scope.
def _entrances(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "output", "jump judged"
    if plan.denied:
        yield "translated", "ct status dnat jump denied"


def _chain(name: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"chain {name} {{"
    yield from _indented(lines)
    yield "}"


def _matching(scope: Scope) -> str:
    if scope.cgroup is not None:
        path = f"{scope.below}/{scope.cgroup}".lstrip("/")
        level = scope.cgroup.count("/") + 1
        return f'socket cgroupv2 level {level} "{path}" '
    return "" if scope.uid is None else f"meta skuid {scope.uid} "


def _judged(plan: Plan, scope: Scope) -> Iterator[str]:
    if scope.is_machine:
        yield from _KERNELS_OWN
    yield "ct direction reply goto replies"
    yield "jump denied"
    # What began while it was allowed goes on when an address is believed no longer.
    yield 'ct state established counter accept comment "began before"'
    yield from _each(plan.allowed, "counter accept")
    for version, family in ((4, "ip"), (6, "ip6")):
        yield (
            f"{family} daddr @resolvers_{version} meta l4proto {{ tcp, udp }} "
            'th dport 53 counter accept comment "dns.resolvers"'
        )
    if plan.loopback == "open":
        yield 'oif lo counter accept comment "local.listeners"'
    elif plan.loopback == "sockets":
        yield (
            "oif lo fib daddr type local meta l4proto { tcp, udp, sctp } counter "
            'accept comment "local.listeners"'
        )
    yield "goto refused"


def _replies(plan: Plan) -> Iterator[str]:
    yield "oif lo accept"
    if plan.sources == "any":
        yield 'counter accept comment "accept.from"'
        return
    if plan.sources != "local":
        for network in plan.sources:
            destination = f"{_family(network.version)} daddr {network}"
            if not network.prefixlen:
                destination = f"meta nfproto ipv{network.version}"
            yield f'{destination} counter accept comment "accept.from"'
    yield "goto refused"


def _each(rules: Iterable[Rule], verdict: str) -> Iterator[str]:
    for rule in rules:
        comment = quoted(described(rule))
        for destination in _destinations(rule):
            for protocol in _protocols(rule):
                yield f"{destination} {protocol} {verdict} comment {comment}"


def _destinations(rule: Rule) -> Iterator[str]:
    if rule.network is None:
        for version in (4, 6):
            yield f"{_family(version)} daddr @{set_name(rule, version)}"
    elif not rule.network.prefixlen:
        yield f"meta nfproto ipv{rule.network.version}"
    else:
        yield f"{_family(rule.network.version)} daddr {rule.network}"


def _family(version: int) -> str:
    return "ip" if version == 4 else "ip6"


# Of protocols without ports, an entry for any protocol means all.
def _protocols(rule: Rule) -> Iterator[str]:
    ports = _ports(rule.ports)
    if rule.protocol == "icmp":
        yield f"meta l4proto {_ICMP}"
    elif rule.protocol != "any":
        yield f"meta l4proto {rule.protocol} th dport {ports}"
    else:
        yield f"meta l4proto {_WITH_PORTS} th dport {ports}"
        yield f"meta l4proto != {_WITH_PORTS}"


def _ports(ranges: Ranges) -> str:
    listed = [str(low) if low == high else f"{low}-{high}" for low, high in ranges]
    return listed[0] if len(listed) == 1 else f"{{ {', '.join(listed)} }}"
