"""What the filter's sets are to hold, from look-ups and from what they hold by now."""

import ipaddress

from egressmon.filters.model import Addresses, Plan
from egressmon.filters.nft_text import Elements, Lifetimes, set_name
from egressmon.policy.judging.pointers import Address

Remaining = dict[str, dict[str, int]]
"""By set: addresses, and the seconds for which each is believed yet."""


def elements_of(
    plan: Plan, addresses: Addresses, lifetime_s: int, before: Remaining | None = None
) -> Elements:
    """Return what each set holds: `addresses` for `lifetime_s`, and what was `before`.

    What was there and was not found again stays until its time is out: a name of
    changing addresses has all those of the last while, and a look-up that fails takes
    nothing away.
    """
    found: dict[str, Lifetimes] = {}
    for rule in (*plan.denied, *plan.allowed):
        if rule.network is not None:
            continue
        listed = [one for host in rule.hosts for one in addresses.get(host, ())]
        for version in (4, 6):
            name = set_name(rule, version)
            lifetimes: dict[Address, int | None] = {}
            lifetimes.update(_kept((before or {}).get(name, {}), version, lifetime_s))
            for one in listed:
                if one.version == version:
                    lifetimes[one] = lifetime_s
            found[name] = lifetimes
    for version in (4, 6):
        servers = [one for one in plan.resolvers if one.version == version]
        found[f"resolvers_{version}"] = dict.fromkeys(servers)
    return found


def _kept(before: dict[str, int], version: int, lifetime_s: int) -> dict[Address, int]:
    kept: dict[Address, int] = {}
    for text, seconds in before.items():
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.version == version and seconds > 0:
            kept[address] = min(seconds, lifetime_s)
    return kept
