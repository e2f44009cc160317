"""`egressmon policy nftables` and `egressmon policy pf`: the policy as a filter."""

import argparse
import hashlib
import ipaddress
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from egressmon.errors import UsageError
from egressmon.filters import nft, nft_text, pf_text
from egressmon.filters.addresses import Found, resolve
from egressmon.filters.applying import elements_of
from egressmon.filters.model import Addresses, Note, Plan
from egressmon.filters.plan import plan_of, shared_addresses
from egressmon.filters.scopes import Scope, require_there, scope_of
from egressmon.naming.names import Resolver, read_resolver, trusted_resolvers
from egressmon.policy.judging.pointers import Address
from egressmon.policy.language.model import Policy
from egressmon.policy.language.names import in_ascii, is_host_name
from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.text import printable
from egressmon.values import replace

Action = Literal["print", "apply", "refresh", "remove"]
_NOWHERE = Found({}, ())


class FilterRequest(NamedTuple):
    """What `egressmon policy nftables` or `pf` is asked."""

    file: str | None
    digest: str | None
    cgroup: str | None
    user: str | None
    given: list[str]
    """Each NAME=ADDRESS."""
    lifetime_s: int
    narrow: bool
    action: Action

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "FilterRequest":
        """Return the options in `parsed`."""
        return cls(
            file=parsed.file,
            digest=parsed.policy_digest,
            cgroup=getattr(parsed, "cgroup", None),
            user=parsed.uid,
            given=parsed.address,
            lifetime_s=int(getattr(parsed, "lifetime", 0)),
            narrow=parsed.narrow,
            action=getattr(parsed, "action", "print"),
        )


class _Filter(NamedTuple):
    """A policy that was read, and the filter that is to be made of it."""

    loaded: LoadedPolicy
    plan: Plan
    scope: Scope
    resolver: Resolver
    given: Addresses
    mark: str


def nftables(request: FilterRequest) -> int:
    """Print, apply, refresh or remove the filter; return the exit status.

    It is 1 if the addresses of a name are not known, or there was none to remove.
    """
    if request.action == "remove":
        was_there = nft.remove()
        _say("the filter was removed" if was_there else "there was no filter")
        return 0 if was_there else 1
    made = _filter_of(request)
    if request.action == "print":
        elements = elements_of(made.plan, made.given, request.lifetime_s)
        _say_notes((*made.plan.notes, *shared_addresses(made.plan, made.given)))
        sys.stdout.write(nft_text.ruleset(made.plan, _heading(made), elements))
        return 0
    require_there(made.scope)
    before = nft.loaded()
    found = _looked_up(made)
    if request.action == "refresh":
        return _refresh(made, found, before, request.lifetime_s)
    return _apply(made, found, before, request.lifetime_s)


def pf(request: FilterRequest) -> int:
    """Print the policy as an anchor of pf, and return the exit status."""
    made = _filter_of(request)
    _say_notes((*made.plan.notes, *pf_text.notes(made.plan, made.scope.uid)))
    digest = made.loaded.digest or ""
    name = printable(request.file)
    text = pf_text.anchor(made.plan, name, digest, made.given, made.scope.uid)
    sys.stdout.write(text)
    return 0


def _apply(
    made: _Filter, found: Found, before: nft.Table | None, lifetime_s: int
) -> int:
    is_same = before is not None and before.mark == made.mark
    kept = before.remaining if before is not None and is_same else None
    elements = elements_of(made.plan, found.addresses, lifetime_s, kept)
    notes = (*made.plan.notes, *shared_addresses(made.plan, found.addresses))
    nft.load(nft_text.ruleset(made.plan, _heading(made), elements))
    _say_notes(notes)
    _say(f"the filter was {'replaced' if before else 'applied'}, for {made.scope}")
    return _unknown(found, _KEPT if is_same else _NOTHING_YET)


def _refresh(
    made: _Filter, found: Found, before: nft.Table | None, lifetime_s: int
) -> int:
    if before is None:
        raise nft.FilterError("there is no filter to refresh", _APPLY)
    if before.mark != made.mark:
        raise nft.FilterError(
            "the filter is of another policy, or of other options", _APPLY
        )
    elements = elements_of(made.plan, found.addresses, lifetime_s, before.remaining)
    nft.load(nft_text.refreshment(made.plan, made.scope, elements))
    _say_notes(shared_addresses(made.plan, found.addresses))
    count = sum(map(len, found.addresses.values()))
    _say(f"refreshed: {len(found.addresses)} names, {count} addresses")
    return _unknown(found, _KEPT)


_KEPT = "what was known stays until its time is out"
_NOTHING_YET = "it has no address in the filter yet; --refresh looks again"
_APPLY = "apply it: egressmon policy nftables FILE --apply, with the same options"


def _unknown(found: Found, then: str) -> int:
    for problem in found.problems:
        _say(f"{problem}; {then}")
    return 1 if found.problems else 0


def _filter_of(request: FilterRequest) -> _Filter:
    if request.file is None:
        raise UsageError("no policy is named", "name its file, such as egress.toml")
    loaded = load_policy(Path(request.file), request.digest)
    for remark in loaded.remarks:
        _say(f"policy: {remark}")
    assert isinstance(loaded.policy, Policy)  # noqa: S101 -- a file's
    given = given_addresses(request.given)
    scope = scope_of(request.cgroup, request.user)
    resolver = read_resolver(Path("/etc/resolv.conf"))
    plan = plan_of(
        loaded.policy,
        trusted_resolvers(loaded.policy, resolver),
        given,
        whole=scope.is_machine,
        narrow=request.narrow,
    )
    plan = replace(plan, notes=(*plan.notes, *scope.notes()))
    _require_used(given, plan)
    # What decides about the rules besides the policy; addresses can be refreshed.
    options = repr((scope.cgroup, scope.uid, request.narrow, sorted(plan.hosts())))
    digest = hashlib.sha256(options.encode()).hexdigest()
    mark = nft.mark_of(loaded.digest or "", digest)
    return _Filter(loaded, plan, scope, resolver, given, mark)


def given_addresses(listed: Iterable[str]) -> dict[str, tuple[Address, ...]]:
    """Return the addresses of each name in NAME=ADDRESS. Raises UsageError."""
    found: dict[str, tuple[Address, ...]] = {}
    for one in listed:
        name, _, text = one.partition("=")
        try:
            host = in_ascii(name, name)
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            host, address = "", None
        if address is None or not is_host_name(host) or address.is_unspecified:
            raise UsageError(
                f"--address {printable(one)}: no NAME=ADDRESS",
                "write --address api.example.org=192.0.2.7",
            )
        if address.version == 6:
            address = address.ipv4_mapped or ipaddress.IPv6Address(int(address))
        found[host] = (*found.get(host, ()), address)
    return found


def _require_used(given: Addresses, plan: Plan) -> None:
    for name in given:
        if name not in plan.hosts():
            raise UsageError(
                f"--address {printable(name)}: no entry of the policy covers that name",
                "name a host of the policy, or one that a wildcard of it covers",
            )


def _looked_up(made: _Filter) -> Found:
    wanted = [host for host in made.plan.hosts() if host not in made.given]
    found = resolve(wanted, made.resolver) if wanted else _NOWHERE
    return Found({**found.addresses, **made.given}, found.problems)


def _heading(made: _Filter) -> nft_text.Heading:
    return nft_text.Heading(printable(made.loaded.path), made.mark, made.scope)


def _say_notes(notes: Iterable[Note]) -> None:
    for note in notes:
        _say(str(note))


def _say(text: str) -> None:
    sys.stderr.write(f"egressmon: {printable(text, 400)}\n")
