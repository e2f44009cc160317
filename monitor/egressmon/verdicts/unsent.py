"""What was given up before any packet of it left, to an address that nobody has.

So it is with the canaries of another egressmon, whose probes refuse them. Whoever sends
to such an address sends something all the same: only that is judged as any other.
"""

import ipaddress

from egressmon.events.model import FLAG_UNSENT, Address, Flow
from egressmon.policy.judging.judge import Verdict
from egressmon.sensor.canary import INET6_BLOCK, INET_BLOCKS

REASON = "no packet of it left, and its address is for documentation (RFC 5737, 3849)"
_BLOCKS = tuple(
    ipaddress.ip_network(block)
    for block in (*(f"{one}/24" for one in INET_BLOCKS), f"{INET6_BLOCK}/32")
)


def is_for_documentation(address: Address) -> bool:
    """Tell whether nobody has `address`."""
    return any(address in block for block in _BLOCKS)


def unsent(flow: Flow, judged: Verdict) -> Verdict | None:
    """Return the verdict on a `flow` of which nothing left; None: it is as `judged`."""
    if not flow.flags & FLAG_UNSENT or not is_for_documentation(flow.address):
        return None
    return excused(judged)


def excused(judged: Verdict) -> Verdict | None:
    """Return what replaces the verdict, unless a rule says it, or it allows."""
    if judged.word != "violation" or judged.rule is not None:
        return None
    return Verdict("local", None, REASON)
