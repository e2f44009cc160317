"""The filter and the policy's judge agree, but for what the filter said beforehand.

Policies and destinations are generated; the real nft in a namespace of its own is asked
by real sockets, and the judge as `policy explain` asks it.
"""

import ipaddress
import os
import re
import subprocess
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon.cli.policy.explain import parse_destination
from egressmon.filters import nft_text
from egressmon.filters.applying import elements_of
from egressmon.filters.model import Addresses, Plan
from egressmon.filters.plan import plan_of, shared_addresses
from egressmon.filters.scopes import MACHINE, Scope
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination
from egressmon.policy.language.model import Policy
from support.filtered import Evaluator

EXAMPLES = int(os.environ.get("EGRESSMON_TEST_POLICIES", "150"))
RESOLVERS = frozenset(map(ipaddress.ip_address, ("10.99.0.53", "fd00:99::53")))
PORTS = (53, 80, 443, 5432, 8000)
NUMBERS = (
    *("10.20.0.1", "10.20.255.254", "10.21.0.1", "198.51.100.7", "10.99.0.53"),
    *("fd00:9::1", "fd00:9:1::1", "fd00:99::53", "127.0.0.1", "127.9.9.9", "::1"),
)
HOSTS = {
    "api.example.test": ("203.0.113.1", "fd00:f::1"),
    "cdn.example.test": ("203.0.113.2", "203.0.113.3"),
    "www.cdn.example.test": ("203.0.113.4",),
    "shared.example.test": ("203.0.113.1",),  # api's, too
    "db": ("fd00:f::5",),
}
ADDRESSES: Addresses = {
    name: tuple(map(ipaddress.ip_address, listed)) for name, listed in HOSTS.items()
}
PATTERNS = ("*.example.test", "**.example.test", "*.cdn.example.test")
CIDRS = (
    *("10.20.0.0/16", "10.20.0.1/32", "0.0.0.0/0", "10.0.0.0/8", "203.0.113.0/30"),
    *("fd00:9::/32", "::/0", "fd00:9::1/128", "127.0.0.0/8", "fd00:f::1/128"),
)
REFUSED = {"ECONNREFUSED", "EPERM"}


@pytest.fixture(scope="module")
def evaluator() -> Generator[Evaluator]:
    name = f"egmfilter{os.getpid()}"
    route = ("route", "add", "default", "dev", "out")
    try:
        for words in (
            ("netns", "add", name),
            ("-n", name, "link", "set", "lo", "up"),
            ("-n", name, "link", "add", "out", "type", "veth", "peer", "name", "sink"),
            # Nobody is asked for: what is sent is gone.
            ("-n", name, "link", "set", "out", "arp", "off", "up"),
            ("-n", name, "link", "set", "sink", "arp", "off", "up"),
            ("-n", name, "addr", "add", "198.51.100.1/24", "dev", "out"),
            ("-n", name, "addr", "add", "fd00:1::1/64", "dev", "out", "nodad"),
            ("-n", name, *route),
            ("-n", name, "-6", *route),
        ):
            subprocess.run(["ip", *words], check=True, capture_output=True)
        running = Evaluator(name, PORTS)
        yield running
        running.close()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


ports = st.one_of(
    st.just("any"),
    st.lists(
        st.one_of(
            st.sampled_from(PORTS), st.sampled_from(["1-100", "80-443", "400-8000"])
        ),
        min_size=1,
        max_size=4,
    ),
)


@st.composite
def entries(draw: st.DrawFn, *, may_be_by: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if draw(st.booleans()):
        entry["cidr"] = draw(st.sampled_from(CIDRS))
    else:
        entry["host"] = draw(st.sampled_from((*HOSTS, *HOSTS, *PATTERNS)))
    entry["protocol"] = draw(st.sampled_from(["tcp", "udp", "sctp", "icmp", "any"]))
    if entry["protocol"] != "icmp" and draw(st.booleans()):
        entry["ports"] = draw(ports)
    entry["reason"] = draw(st.text(max_size=200))
    if may_be_by and draw(st.integers(0, 3)) == 0:
        entry["by"] = {"package": ["grpcio"]}
    return entry


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    sources = st.sampled_from(["local", "any", ["10.20.0.0/16", "::/0", "fd00::/8"]])
    return Policy.model_validate(
        {
            "version": 1,
            "enforce": draw(st.sampled_from(["report", "fail"])),
            "bypass": draw(st.sampled_from(["report", "report", "violation"])),
            "allow": draw(st.lists(entries(may_be_by=True), max_size=6)),
            "deny": draw(st.lists(entries(may_be_by=False), max_size=3)),
            "dns": {"resolvers": [str(one) for one in sorted(RESOLVERS, key=str)]},
            "local": {"listeners": draw(st.sampled_from(["scope", "any", "deny"]))},
            "accept": {"from": draw(sources)},
        }
    )


def said(plan: Plan) -> set[str]:
    """Return the rules of which the filter says that it is different."""
    return {note.rule for note in plan.notes}


def as_said(policy: Policy, plan: Plan) -> Policy:
    """Return the policy that the filter says it is, by its notes alone."""
    allow: list[dict[str, Any]] = []
    deny: list[dict[str, Any]] = []
    hosts = {rule.name: rule.hosts for rule in (*plan.denied, *plan.allowed)}
    effects = {note.rule: note.effect for note in plan.notes}
    for table, listed, made in (
        ("allow", policy.allow, allow),
        ("deny", policy.deny, deny),
    ):
        for at, entry in enumerate(listed):
            name = f"{table}[{at}]"
            values = entry.model_dump(exclude_unset=True)
            if f"{name}.by" in effects:
                if effects[f"{name}.by"] == "narrower":
                    continue
                del values["by"]
            if name in effects:  # a wildcard, which holds for some names alone
                made += [values | {"host": host} for host in hosts[name]]
            else:
                made.append(values)
    values = policy.model_dump(by_alias=True, exclude_unset=True)
    if "bypass" in effects:
        values["bypass"] = "report"
    listeners = policy.local.listeners
    if "local.listeners" in effects:
        listeners = "deny" if effects["local.listeners"] == "narrower" else "any"
    return Policy.model_validate(
        values | {"allow": allow, "deny": deny, "local": {"listeners": listeners}}
    )


def names_at(address: object, plan: Plan) -> tuple[str, ...]:
    """Return all names that the plan has for an address: it goes by these alone."""
    if not said(plan).intersection({"allow.host", "deny.host"}):
        return ()
    return tuple(name for name in plan.hosts() if address in ADDRESSES.get(name, ()))


def destinations() -> list[tuple[str, str]]:
    """Return each destination as `policy explain` takes it, and where it leads."""
    kinds = [
        (f":{port}/{name}", name) for port in PORTS for name in ("tcp", "udp", "sctp")
    ]
    kinds.append(("/icmp", "icmp"))
    named = [(host, one) for host, listed in HOSTS.items() for one in listed]
    bare = [(f"[{one}]" if ":" in one else one, one) for one in NUMBERS]
    return [
        (f"{shown}{kind}", one) for shown, one in (*bare, *named) for kind, _ in kinds
    ]


ALL = destinations()


def passes(judge: Judge, target: Destination) -> bool:
    return judge.connection(target).word != "violation"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    policies(),
    st.lists(st.sampled_from(ALL), min_size=12, max_size=24, unique=True),
    st.sampled_from([MACHINE, Scope(uid=0)]),
    st.booleans(),
)
def test_what_passes_the_filter_is_what_the_policy_allows(
    evaluator: Evaluator,
    policy: Policy,
    wanted: list[tuple[str, str]],
    scope: Scope,
    narrow: bool,  # noqa: FBT001 -- drawn
) -> None:
    plan = plan_of(policy, RESOLVERS, whole=scope.is_machine, narrow=narrow)
    heading = nft_text.Heading("egress.toml", "egressmon 1 sha256:0", scope)
    text = nft_text.ruleset(plan, heading, elements_of(plan, ADDRESSES, 3600))
    targets = [parse_destination(shown) for shown, _ in wanted]
    tries = [
        (target.protocol, one, target.port or 0)
        for target, (_, one) in zip(targets, wanted, strict=True)
    ]
    found = evaluator.verdicts(text, tries)
    exact, different = Judge(policy, RESOLVERS), Judge(as_said(policy, plan), RESOLVERS)

    for target, (shown, one), result in zip(targets, wanted, found, strict=True):
        assert result == "out" or result in REFUSED
        address = ipaddress.ip_address(one)
        is_known = scope.is_machine and policy.local.listeners == "scope"
        if target.listener and is_known:
            continue  # a machine's listeners are the scope's; explain takes one outside
        told = Destination(
            address,
            target.port,
            target.protocol,
            names_at(address, plan),
            target.listener,
        )
        is_open = policy.local.listeners == "scope" and not narrow
        if target.listener and is_open and target.protocol == "icmp":
            continue  # said to be open, but for what no socket receives
        assert (result == "out") == passes(different, told), (shown, one, text)
        # Without a word that is about it, the verdict is that of `policy explain`.
        is_ranged = not target.names or not covered(policy, address)
        if is_ranged and not reasons(plan, target, address):
            assert (result == "out") == passes(exact, target), (shown, one, text)


def covered(policy: Policy, address: object) -> bool:
    """Tell whether a range of the policy has the address of a name."""
    ranges = [one.cidr for one in (*policy.allow, *policy.deny) if one.cidr]
    return any(address in ipaddress.ip_network(cidr) for cidr in ranges)


def reasons(plan: Plan, target: Destination, address: object) -> bool:
    """Tell whether the filter said something that may be about the destination."""
    rules = said(plan)
    if any(re.match(r"(allow|deny)\[\d+\]|bypass", rule) for rule in rules):
        return True
    if target.listener and "local.listeners" in rules:
        return True
    shared = any(
        str(address) in note.text for note in shared_addresses(plan, ADDRESSES)
    )
    by_number = not target.names and bool(names_at(address, plan))
    named_otherwise = bool(target.names) and not set(target.names) & set(plan.hosts())
    return shared or by_number or (named_otherwise and bool(names_at(address, plan)))
