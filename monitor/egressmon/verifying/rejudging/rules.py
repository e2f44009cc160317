"""What a verdict says that no text can hide: the rule that it names, and the address.

A name that is masked or cut may be why a verdict does not follow from its record any
more. That the policy has no such rule, or that a range has no such address, is not.
"""

import ipaddress
import re
from typing import Any

from egressmon.policy.judging.entries import Entry
from egressmon.policy.judging.judge import Judge, Verdict
from egressmon.policy.judging.questions import Destination
from egressmon.verdicts.unjudged import RULE

Json = dict[str, Any]
_ENTRY = re.compile(r"(allow|deny)\[(0|[1-9]\d{0,8})\]", re.ASCII)
_OF_CONNECTIONS = frozenset(
    {None, "dns.resolvers", "local.listeners", "accept.from", "bypass", "guard.bypass"}
)
_OF_QUERIES = frozenset({None, "dns.resolvers", "dns.queries", "dns.names"})
_DNS = 53


def unknown_rule(judge: Judge, record: Json) -> str | None:
    """Return what is wrong with the rule that `record` names; None: it is there."""
    rule = record["rule"]
    others = _OF_CONNECTIONS if record["type"] == "connection" else _OF_QUERIES
    if rule in others:
        return None
    if rule == RULE and judge.policy.origins.machine == "record":
        return None
    found = _ENTRY.fullmatch(rule)
    if found and int(found[2]) < len(getattr(judge.policy, found[1])):
        return None
    return f"its rule is {rule}, which the policy does not have"


def by_address(judge: Judge, record: Json) -> Verdict | None:
    """Return the verdict on a connection as far as no name has a part in it; else None.

    It is one that a range or a resolver's address allows, so `record` says. What a name
    allows, it allows at some ports and by some protocols alone.
    """
    rule, dst = record["rule"], record["dst"]
    if record["verdict"] != "allowed" or record["op"] == "accept":
        return None
    address = ipaddress.ip_address(dst["ip"])
    if rule == "dns.resolvers":
        is_one = dst["port"] == _DNS and address in judge.resolvers
        return Verdict("allowed", rule, "a trusted resolver") if is_one else _none(rule)
    found = _ENTRY.fullmatch(rule) if rule is not None else None
    if found is None or found[1] != "allow":
        return _none(rule)
    rule_of = judge.policy.allow[int(found[2])]
    target = Destination(address, dst["port"], record["protocol"])
    entry = Entry(found[0], rule_of)
    if rule_of.cidr is None:
        return None if entry.is_open_to(target) else _none(rule)
    why = entry.allows(target, ())
    return _none(rule) if why is None else Verdict("allowed", rule, why)


def _none(rule: str | None) -> Verdict:
    return Verdict(
        "violation", None, f"{rule or 'no rule'} does not cover where it goes"
    )
