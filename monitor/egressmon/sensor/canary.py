"""Canaries: connections that egressmon itself attempts in the scope, as a proof.

The probes must report each one and refuse it with EPERM: the refusal proves that the
hook is in the path, and nothing leaves the machine. The destinations are addresses
reserved for documentation (RFC 5737, RFC 3849), at a port that is random for each run;
the probes refuse exactly these.
"""

import ipaddress
import json
import os
import secrets
import socket
from errno import EADDRINUSE, EAFNOSUPPORT, EIO, errorcode
from typing import Literal, NamedTuple, TypeAlias

from egressmon.events.model import (
    FLAG_CANARY,
    FLAG_INGRESS,
    FLAG_REFUSED,
    Address,
    Flow,
)
from egressmon.evidence.records.running import CanaryRecord
from egressmon.probes.engine import Canary
from egressmon.values import dataclass

INET_BLOCKS = ("192.0.2.0", "198.51.100.0", "203.0.113.0")  # RFC 5737, each a /24
INET6_BLOCK = "2001:db8::"  # RFC 3849, a /32
_HIGHEST_PORT = 65535
_LOWEST_PORT = 49152  # the dynamic ports (RFC 6335)


@dataclass(frozen=True, slots=True)
class Plan:
    """The destination of one round of canaries."""

    port: int
    inet: ipaddress.IPv4Address
    inet6: ipaddress.IPv6Address

    def for_probes(self) -> Canary:
        """Return the plan in the probes' format: IPv4 as an IPv4-mapped address."""
        mapped = bytes(10) + b"\xff\xff" + self.inet.packed
        return Canary(self.port, mapped, self.inet6.packed)


def make_plan() -> Plan:
    """Return a random plan, which the command cannot guess."""
    block = int(ipaddress.IPv4Address(secrets.choice(INET_BLOCKS)))
    return Plan(
        port=_LOWEST_PORT + secrets.randbelow(_HIGHEST_PORT - _LOWEST_PORT),
        inet=ipaddress.IPv4Address(block + 1 + secrets.randbelow(254)),
        inet6=ipaddress.IPv6Address(
            int(ipaddress.IPv6Address(INET6_BLOCK)) + 1 + secrets.randbits(64)
        ),
    )


class Attempt(NamedTuple):
    """One canary, as its sender saw it."""

    hook: str
    address: str
    refused: bool
    errno: int | None
    """The errno with which it could not be sent; None if it was sent or refused."""


def send_canaries(plan: Plan) -> list[Attempt]:
    """Attempt each connection; call it in a process inside the scope."""
    inet, inet6 = str(plan.inet), str(plan.inet6)
    v4, v6 = socket.AF_INET, socket.AF_INET6
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    return [
        _attempt("connect4/tcp", v4, stream, (inet, plan.port), "connect"),
        _attempt("connect6/tcp", v6, stream, (inet6, plan.port), "connect"),
        _attempt("connect4/udp", v4, datagram, (inet, plan.port), "connect"),
        _attempt("connect6/udp", v6, datagram, (inet6, plan.port), "connect"),
        _attempt("sendmsg4/udp", v4, datagram, (inet, plan.port), "sendto"),
        _attempt("sendmsg6/udp", v6, datagram, (inet6, plan.port), "sendto"),
        *_loopback(plan.port),
    ]


def _attempt(
    hook: str, family: int, kind: int, target: tuple[str, int], how: str
) -> Attempt:
    try:
        with socket.socket(family, kind) as attempt:
            attempt.setblocking(False)
            if how == "connect":
                attempt.connect(target)
            else:
                attempt.sendto(b"egressmon canary", target)
    except PermissionError:
        return Attempt(hook, target[0], refused=True, errno=None)
    except BlockingIOError:
        return Attempt(hook, target[0], refused=False, errno=None)
    except OSError as error:
        return Attempt(hook, target[0], refused=False, errno=error.errno or EIO)
    return Attempt(hook, target[0], refused=False, errno=None)


# Send a datagram from a socket to itself: it passes both packet hooks, out and in.
def _loopback(port: int) -> list[Attempt]:
    address = "127.0.0.1"
    failure: int | None = None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            try:
                receiver.bind((address, port))
            except OSError:
                # Somebody else has the port. Send it all the same: it is seen on the
                # way out, and only the way in cannot be proven.
                failure = EADDRINUSE
            receiver.sendto(b"egressmon canary", (address, port))
    except OSError as error:
        failure = error.errno or EIO
    return [
        Attempt("egress", address, refused=False, errno=failure),
        Attempt("ingress", address, refused=False, errno=failure),
    ]


def pack_attempts(attempts: list[Attempt]) -> bytes:
    """Return `attempts` as JSON, to be sent through a pipe."""
    return json.dumps([attempt._asdict() for attempt in attempts]).encode()


def unpack_attempts(data: bytes) -> list[Attempt]:
    """Return the attempts that `pack_attempts` wrote; raises ValueError if invalid."""
    return [Attempt(**fields) for fields in json.loads(data)]


CanaryTime: TypeAlias = Literal["start", "during", "end"]
"""When in a run a canary is sent: `during` where the run has no end of its own."""


class CanaryWatch:
    """Notes which canaries of the current round the probes reported."""

    def __init__(self) -> None:
        self._port = 0
        self._seen: set[tuple[str, Address, int]] = set()
        self.not_before_ns = 0
        """Those that are older are of a run before (CLOCK_BOOTTIME, nanoseconds)."""
        self.netns: int | None = None
        """The network namespace (inode) from which canaries were sent, once known."""

    def begin(self, plan: Plan) -> None:
        """Begin a new round, whose canaries go where `plan` says."""
        self._port = plan.port
        self._seen.clear()

    def on_flow(self, flow: Flow) -> None:
        """Note `flow`, an event with the canary flag."""
        if flow.ktime_ns < self.not_before_ns:
            return
        self.netns = flow.netns or self.netns
        if flow.flags & FLAG_REFUSED:
            kind = flow.operation
        elif flow.operation == "packet":
            kind = "ingress" if flow.flags & FLAG_INGRESS else "egress"
        else:
            return  # the announcement of the loopback datagram, which is not refused
        self._seen.add((kind, flow.address, flow.protocol))

    def records(self, when: CanaryTime, attempts: list[Attempt]) -> list[CanaryRecord]:
        """Return a record of each attempt: was it sent, refused, reported?"""
        return [self._record(when, attempt) for attempt in attempts]

    def has_seen(self, attempts: list[Attempt]) -> bool:
        """Tell whether all attempts that could be made were reported."""
        made = (attempt for attempt in attempts if attempt.errno is None)
        return all(map(self._was_seen, made))

    def _record(self, when: CanaryTime, attempt: Attempt) -> CanaryRecord:
        seen = self._was_seen(attempt)
        must_be_refused = attempt.hook not in {"egress", "ingress"}
        reason: str | None = None
        if attempt.errno is not None:
            reason = f"could not be sent: {_words(attempt.errno)}"
        elif not seen:
            reason = "the probes did not report it"
        elif must_be_refused and not attempt.refused:
            reason = "the probes reported it, but it was not refused"
        return CanaryRecord(
            when=when,
            hook=attempt.hook,
            dst=attempt.address,
            port=self._port,
            sent=attempt.errno is None,
            refused=attempt.refused,
            seen=seen,
            errno=_symbol(attempt.errno) if attempt.errno is not None else None,
            reason=reason,
        )

    def _was_seen(self, attempt: Attempt) -> bool:
        hook, _, transport = attempt.hook.partition("/")
        kind = hook.rstrip("46").replace("sendmsg", "send")
        protocol = socket.IPPROTO_TCP if transport == "tcp" else socket.IPPROTO_UDP
        return (kind, ipaddress.ip_address(attempt.address), protocol) in self._seen


def is_canary(flow: Flow) -> bool:
    """Tell whether `flow` is one of egressmon's canaries."""
    return bool(flow.flags & FLAG_CANARY)


def _words(number: int) -> str:
    if number == EADDRINUSE:
        return "the canary's loopback port is taken"
    return os.strerror(number)


def _symbol(number: int) -> str:
    return errorcode.get(number, str(number))


# If the machine does not support an address family (no IPv6), the command cannot use it
# either: such a canary casts no doubt.
_NOT_THERE = _symbol(EAFNOSUPPORT)


def failed(records: list[CanaryRecord]) -> list[CanaryRecord]:
    """Return those of `records` that show that the probes may not see everything."""
    return [
        record
        for record in records
        if record.reason is not None and record.errno != _NOT_THERE
    ]
