"""What a packet filter is to do, for every kind of filter alike."""

import ipaddress
from collections.abc import Mapping
from typing import Literal, TypeAlias

from egressmon.policy.judging.pointers import Address
from egressmon.values import dataclass

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Ranges: TypeAlias = tuple[tuple[int, int], ...]
Addresses: TypeAlias = Mapping[str, tuple[Address, ...]]
"""The addresses of host names."""

Effect: TypeAlias = Literal["wider", "narrower"]

Loopback: TypeAlias = Literal["open", "sockets", "closed"]
"""What may go to this machine itself: everything, TCP, UDP and SCTP, or nothing."""


@dataclass(frozen=True, slots=True)
class Note:
    """One difference between the policy and the filter."""

    effect: Effect
    """Whether the filter lets more through than the policy does, or less."""
    rule: str
    """The policy's rule, such as `allow[0].by`."""
    text: str

    def __str__(self) -> str:
        """Return it as one line, to be escaped."""
        return f"{self.effect}: {self.rule}: {self.text}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of the policy, as far as a filter can tell."""

    name: str
    """How verdicts call it, such as `allow[0]`."""
    target: str
    """The host or the range, as the policy has it."""
    reason: str
    protocol: str
    ports: Ranges
    """Sorted, and apart from each other."""
    network: Network | None
    """None for an entry with a host, which holds for the addresses of `hosts`."""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a filter is to do, in the order of the policy's judge."""

    denied: tuple[Rule, ...]
    allowed: tuple[Rule, ...]
    resolvers: tuple[Address, ...]
    loopback: Loopback
    sources: Literal["local", "any"] | tuple[Network, ...]
    """Who may connect to listeners, as `accept.from` has it."""
    notes: tuple[Note, ...]

    def hosts(self) -> tuple[str, ...]:
        """Return each host name of which the filter needs the addresses, once."""
        rules = (*self.denied, *self.allowed)
        return tuple(dict.fromkeys(host for rule in rules for host in rule.hosts))
