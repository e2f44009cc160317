"""What the kernel sends by itself: no process asked for it, so no policy speaks of it.

That is a reset or an acknowledgement without data, an ICMP error, and what IPv6 tells
neighbours and routers. The probes say so of a packet (programs/unasked.bpf.h): its
socket is one that no process can have.
"""

from egressmon.events.model import FLAG_UNASKED, Flow
from egressmon.policy.judging.judge import Verdict

REASON = "the kernel's own answer: no process sent it"
PROTOCOLS = frozenset({"tcp", "icmp", "icmpv6"})


def unasked(flow: Flow, judged: Verdict) -> Verdict | None:
    """Return the verdict on a `flow` of the kernel's own; None: it is as `judged`."""
    if not flow.flags & FLAG_UNASKED or judged.word != "violation":
        return None
    return Verdict("local", None, REASON)
