"""The policy as an anchor of macOS's pf: pure text for pfctl(8).

pf looks names up by itself when it loads a table, so that loading the text again
refreshes the addresses. It knows the owner of a TCP or UDP socket, and no cgroups.
"""

from collections.abc import Iterable, Iterator

from egressmon.filters.model import Addresses, Note, Plan, Ranges, Rule
from egressmon.filters.wording import described, line

_TABLE = "<egressmon_{}>"
_WITH_PORTS = ("tcp", "udp")


def anchor(
    plan: Plan, file: str, digest: str, given: Addresses, uid: int | None = None
) -> str:
    """Return the text of the anchor; `given` are addresses that the user said."""
    said = [
        f"egressmon policy pf: {file}",
        f"egressmon 1 {digest}; for {'this machine' if uid is None else f'user {uid}'}",
        *map(str, (*plan.notes, *notes(plan, uid))),
    ]
    lines = (
        *_tables(plan, given),
        *_rules(plan, "" if uid is None else f" user {uid}"),
    )
    return "".join(map(line, said)) + "\n".join(lines) + "\n"


def notes(plan: Plan, uid: int | None) -> tuple[Note, ...]:
    """Return what pf cannot express besides what no filter can."""
    found: list[Note] = []
    if uid is not None:
        text = "pf knows the user of TCP and UDP alone: all else of the user's passes"
        found.append(Note("wider", "scope", text))
    found.extend(
        Note("narrower", rule.name, "pf has no ports of SCTP: it is left out")
        for rule in plan.allowed
        if rule.protocol == "sctp"
    )
    found.extend(
        Note("narrower", rule.name, "pf has it for TCP, UDP and ICMP alone")
        for rule in plan.allowed
        if rule.protocol == "any"
    )
    if plan.sources != "any":
        text = "replies to those who connected pass; block them with rules for `in`"
        found.append(Note("wider", "accept.from", text))
    return tuple(found)


def _tables(plan: Plan, given: Addresses) -> Iterator[str]:
    for rule in (*plan.denied, *plan.allowed):
        if rule.network is None:
            shown = line(described(rule)).rstrip("\n")
            held = [one for host in rule.hosts for one in _held(host, given)]
            yield f"{shown}\ntable {_name(rule)} persist {{ {' '.join(held)} }}"
    servers = " ".join(map(str, plan.resolvers))
    yield f"table {_TABLE.format('resolvers')} persist {{ {servers} }}"


def _held(host: str, given: Addresses) -> Iterable[str]:
    return map(str, given[host]) if host in given else (host,)


def _name(rule: Rule) -> str:
    return _TABLE.format(rule.name.replace("[", "").replace("]", ""))


# `quick`: the first rule that matches decides, as with the policy's entries.
def _rules(plan: Plan, user: str) -> Iterator[str]:
    for rule in plan.denied:
        yield from _entry("block return out quick", rule, user)
    for rule in plan.allowed:
        yield from _entry("pass out quick", rule, user)
    to = _TABLE.format("resolvers")
    yield f"pass out quick proto {{ tcp udp }} to {to} port 53{user}"
    if plan.loopback == "open" and not user:
        yield "pass out quick on lo0 all"
    elif plan.loopback != "closed":
        yield f"pass out quick on lo0 proto {{ tcp udp }} all{user}"
    if user:
        yield f"block return out quick proto {{ tcp udp }} all{user}"
        return
    # Neighbours and routers; to IPv6 they are what ARP is to IPv4.
    for kind in ("routersol", "neighbrsol", "neighbradv"):
        yield f"pass out quick inet6 proto ipv6-icmp all icmp6-type {kind}"
    yield "block return out quick all"


def _entry(action: str, rule: Rule, user: str) -> Iterator[str]:
    yield line(described(rule)).rstrip("\n")
    target = _name(rule) if rule.network is None else str(rule.network)
    ports = f" port {_ports(rule.ports)}"
    if rule.protocol in _WITH_PORTS:
        yield f"{action} proto {rule.protocol} to {target}{ports}{user}"
    elif rule.protocol == "any":
        yield f"{action} proto {{ tcp udp }} to {target}{ports}{user}"
    if user or rule.protocol not in {"icmp", "any"}:
        return
    # Of one family: a range has one, and a table has addresses of both.
    families = {4: "inet proto icmp", 6: "inet6 proto ipv6-icmp"}
    for version, words in families.items():
        if rule.network is None or rule.network.version == version:
            yield f"{action} {words} to {target}"


def _ports(ranges: Ranges) -> str:
    listed = [str(low) if low == high else f"{low}:{high}" for low, high in ranges]
    return listed[0] if len(listed) == 1 else f"{{ {' '.join(listed)} }}"
