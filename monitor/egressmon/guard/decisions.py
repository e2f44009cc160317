"""What the guard decided of one destination, or could only tell of."""

from typing import Literal, TypeAlias

from egressmon.guard.violation import shown
from egressmon.values import dataclass

Word: TypeAlias = Literal[
    "allowed",
    "local",
    "violation",
    "unguarded child",
    "guarded child",
    "unguarded call",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: what was asked for, what the policy says, and who asked."""

    kind: str
    """`connect`, `send`, `lookup` or `pointer`; `child` and `call` are only told of."""
    host: str | None
    address: str | None
    port: int | None
    protocol: str | None
    verdict: Word
    rule: str | None
    reason: str
    caller: str | None
    """PATH:LINE in FUNCTION, the nearest outside of libraries."""
    names: tuple[str, ...] = ()
    """Those by which an address was judged."""

    @property
    def where(self) -> str:
        """The destination, for people: by its name where it has one."""
        host = self.names[0] if self.names else self.host
        return shown(host, self.port)


def entry_for(decision: Decision) -> str:
    """Return the entry that would allow the destination, in the policy's language."""
    if decision.kind == "lookup":
        return f'[[allow]]\nhost = "{decision.host}"\nreason = ""\n'
    is_named = bool(decision.names)
    host = decision.names[0] if is_named else decision.host
    key = "host" if is_named or decision.address is None else "cidr"
    lines = ["[[allow]]", f'{key} = "{host}"']
    if decision.port is not None and decision.port != 443:
        lines.append(f"ports = [{decision.port}]")
    if decision.protocol not in {"tcp", "dns"}:
        known = decision.protocol in {"udp", "sctp", "icmp"}
        lines.append(f'protocol = "{decision.protocol if known else "any"}"')
    return "\n".join([*lines, 'reason = ""', ""])
