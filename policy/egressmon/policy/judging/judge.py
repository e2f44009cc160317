"""Judge one destination against a policy: a pure function that looks nothing up."""

import ipaddress
from collections.abc import Container, Sequence
from copy import copy
from typing import TYPE_CHECKING, Literal, TypeAlias

from egressmon.policy.judging.entries import Entries, Spelt
from egressmon.policy.judging.index import HostIndex, NetworkIndex
from egressmon.policy.judging.pointers import Address, pointed_address
from egressmon.policy.judging.questions import (
    NOBODY,
    Asked,
    Destination,
    Listener,
    Origin,
)
from egressmon.policy.language.names import canonical, covers
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.values import dataclass

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

Word: TypeAlias = Literal["allowed", "violation", "local", "recorded"]

_FROM = "accept.from"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one connection or query, by which rule, and why."""

    word: Word
    rule: str | None
    reason: str


_NOTHING = Asked()


class Judge:
    """A policy, parsed once to answer many questions."""

    def __init__(
        self,
        policy: "AnyPolicy",
        resolvers: frozenset[Address],
        search: SearchList = NO_SEARCH,
    ) -> None:
        """Prepare `policy`; trust the DNS servers `resolvers`.

        `search` is the resolver's search list.
        """
        self.policy = policy
        self.resolvers = resolvers
        self.search = search
        self._allowed = Entries("allow", policy.allow)
        self._denied = Entries("deny", policy.deny)
        self._names = HostIndex(enumerate(policy.dns.names))
        sources = policy.accept.sources
        self._sources = (
            ()
            if isinstance(sources, str)
            else tuple(map(ipaddress.ip_network, sources))
        )
        self._admitted = NetworkIndex(enumerate(self._sources))

    def at(
        self, resolvers: frozenset[Address], search: SearchList = NO_SEARCH
    ) -> "Judge":
        """Return the judge of a place that has other `resolvers` and `search` list."""
        other = copy(self)
        other.resolvers, other.search = resolvers, search
        return other

    def connection(self, target: Destination, origin: Origin = NOBODY) -> Verdict:
        """Return the verdict on a connection from `origin` to `target`."""
        names = self._spelt((*target.names, *target.origins, *target.targets))
        if denied := self._denial(target, names):
            return denied
        if target.translated and (denied := self._denial(target.translated, ())):
            return denied
        verdict = self._destination(target, origin)
        if verdict.word != "allowed":
            return verdict
        return self._around_guard(verdict, origin) or self._bypass(verdict, origin)

    # What goes past the guard inside its process.
    def _around_guard(self, verdict: Verdict, origin: Origin) -> Verdict | None:
        if self.policy.guard.bypass == "report":
            return None
        if origin.guard == "bypassed":
            why = f"it went around its process's guard ({origin.guard_reason})"
        elif origin.guard == "unknown":
            why = f"whether it went around a guard is unknown ({origin.guard_reason})"
        else:
            return None
        return Verdict("violation", "guard.bypass", f"{why}; {verdict.reason}")

    def _bypass(self, verdict: Verdict, origin: Origin) -> Verdict:
        if self.policy.bypass == "report":
            return verdict
        claim = origin.why_claimed("route", origin.route)
        if origin.bypass is False and claim is None:
            return verdict
        if origin.bypass:
            why = f"it bypasses the language's own sockets (route {origin.route})"
        else:
            unknown = claim or origin.route_reason
            why = f"whether it is a bypass is not known ({unknown})"
        return Verdict("violation", "bypass", f"{why}; {verdict.reason}")

    def covering(self, target: Destination, origin: Origin | None) -> tuple[str, ...]:
        """Return the names of all allow entries that cover `target`, in their order.

        If `origin` is None, those that somebody may not use are among them. By the
        first one it is allowed; what denies it is not asked.
        """
        names = self._reached((*target.names, *target.origins), target.absent)
        return tuple(
            entry.name
            for entry in self._allowed.near(target.address, names)
            if entry.allows(target, names) is not None
            and (origin is None or entry.differs(origin) is None)
        )

    def sent(
        self, target: Destination, origin: Origin, *, may_translate: bool
    ) -> Verdict:
        """Return the verdict on what goes to `target`, and where it is translated to.

        `may_translate`: the command may set up NAT, and could send by it what is
        allowed to anywhere.
        """
        verdict = self.connection(target, origin)
        elsewhere = target.translated
        if elsewhere is None or elsewhere.listener or not may_translate:
            return verdict
        really = self.connection(elsewhere, origin)
        if verdict.word == "violation" or really.word != "violation":
            return verdict
        why = f"it is sent to {elsewhere.address}:{elsewhere.port} (NAT)"
        return Verdict("violation", really.rule, f"{why}, and {really.reason}")

    def _denial(self, target: Destination, names: tuple[Spelt, ...]) -> Verdict | None:
        for entry in self._denied.near(target.address, names):
            if (why := entry.allows(target, names)) is not None:
                return Verdict("violation", entry.name, f"denied: {why}")
        return None

    def _destination(self, target: Destination, origin: Origin) -> Verdict:
        mismatch: str | None = None
        names = self._reached((*target.names, *target.origins), target.absent)
        for entry in self._allowed.near(target.address, names):
            if why := entry.allows(target, names):
                if difference := entry.differs(origin):
                    mismatch = mismatch or f"{entry.name} covers it, but {difference}"
                    continue
                return Verdict("allowed", entry.name, why)
        verdict = self._without_entry(target)
        if mismatch is not None and verdict.word == "violation":
            return Verdict("violation", verdict.rule, mismatch)
        return verdict

    def _without_entry(self, target: Destination) -> Verdict:
        # DNS queries to a trusted resolver are judged one by one, in query().
        if (
            target.port == 53
            and target.protocol in {"tcp", "udp"}
            and target.address in self.resolvers
        ):
            return Verdict("allowed", "dns.resolvers", "a trusted resolver")
        if target.listener is not None:
            return self._local(target.listener)
        return Verdict("violation", None, _uncovered(target))

    def _local(self, listener: Listener) -> Verdict:
        mode = self.policy.local.listeners
        if mode == "any":
            return Verdict("local", "local.listeners", "loopback is open")
        if mode == "deny":
            return Verdict(
                "violation", "local.listeners", "loopback needs an allow entry"
            )
        if listener == "scope":
            return Verdict("local", "local.listeners", "a listener inside the scope")
        if listener == "nobody":
            return Verdict("local", "local.listeners", "nothing listens there")
        if listener == "unknown":
            why = "who listens there could not be determined, and"
            return Verdict("violation", None, f"{why} no allow entry covers it")
        why = "the listener is outside the scope (a relay?)"
        return Verdict("violation", None, f"{why}, and no allow entry covers it")

    def accepted(self, peer: Address, *, is_local: bool) -> Verdict:
        """Return the verdict on a connection that `peer` makes to the scope.

        `is_local` says that it comes from this machine itself.
        """
        if is_local:
            return Verdict("local", _FROM, "the peer is on this machine")
        if self.policy.accept.sources == "any":
            return Verdict("allowed", _FROM, "any peer may connect")
        for place in sorted(self._admitted.places(peer)):
            return Verdict("allowed", _FROM, f"{peer} in {self._sources[place]}")
        return Verdict("violation", _FROM, f"accept.from does not admit {peer}")

    def query(self, name: str, resolver: Address, asked: Asked = _NOTHING) -> Verdict:
        """Return the verdict on a DNS query for `name` that is sent to `resolver`.

        `asked` is what the run knows of that name by now.
        """
        if resolver not in self.resolvers:
            why = f"{resolver} is not a trusted resolver"
            return Verdict("violation", "dns.resolvers", why)
        name = canonical(name)
        spelt = self._spelt((name,))
        for entry in self._denied.near(None, spelt):
            if entry.covering(spelt):
                return Verdict("violation", entry.name, "a deny entry covers it")
        if self.policy.dns.queries == "any":
            return Verdict("allowed", "dns.queries", "any name may be looked up")
        if (verdict := self._named((name,))) is not None:
            return verdict
        if (verdict := self._named(asked.origins)) is not None:
            why = f"an answer about {asked.origins[0]} led to it, and {verdict.reason}"
            return Verdict("allowed", verdict.rule, why)
        return self._otherwise(name, asked)

    def _named(self, names: tuple[str, ...]) -> Verdict | None:
        spelt = self._spelt(names)
        for entry in self._allowed.near(None, spelt):
            if entry.covering(spelt):
                return Verdict("allowed", entry.name, "an allow entry covers it")
        for one in spelt:
            if self._is_listed(one.text):
                return Verdict("allowed", "dns.names", "listed under dns.names")
        return None

    # The name of an address says nothing that connecting there would not say.
    def _otherwise(self, name: str, asked: Asked) -> Verdict:
        if name == "localhost" or name.endswith(".localhost"):
            return Verdict("allowed", None, "localhost (RFC 6761)")
        address = pointed_address(name)
        if address is not None:
            for entry in self._allowed.near(address, ()):
                if entry.contains(address):
                    return Verdict("allowed", entry.name, f"{address} may be reached")
            if asked.is_learned:
                return Verdict("allowed", None, f"{address} is of a name that is known")
        return Verdict("violation", None, f"no allow entry covers {name}")

    def _is_listed(self, name: str) -> bool:
        patterns = self.policy.dns.names
        return any(covers(patterns[place], name) for place in self._names.places(name))

    # A resolver library also asks for a short name below each search domain: so each
    # name below one may have been asked for without it.
    def _spelt(self, names: Sequence[str]) -> tuple[Spelt, ...]:
        found = [Spelt(name, name) for name in names]
        found += [
            Spelt(short, f"{short} ({name})")
            for name in names
            for short in self.search.shorter(name)
        ]
        return tuple(found)

    # The same of what is connected to, but no further than the library goes: a whole
    # name that exists is never completed, whoever owns what the list makes of it.
    def _reached(
        self, names: Sequence[str], absent: Container[str]
    ) -> tuple[Spelt, ...]:
        found = [Spelt(name, name) for name in names]
        for name in names:
            for short in self.search.shorter(name):
                shown = f"{short} ({name})"
                if self.search.is_short(short):
                    found.append(Spelt(short, shown))
                elif short in absent:
                    found.append(Spelt(short, shown, is_exact=True))
        return tuple(found)


def _uncovered(target: Destination) -> str:
    known = ", ".join(target.names[:3]) or str(target.address)
    if len(target.names) > 3:
        known += f" (and {len(target.names) - 3} more names)"
    port = f":{target.port}" if target.port is not None else ""
    return f"no allow entry covers {known}{port}/{target.protocol}"
