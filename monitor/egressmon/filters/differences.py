"""What of a policy a packet filter cannot express, said in one line each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from egressmon.filters.model import Effect, Note, Rule
from egressmon.policy.language.model import Policy

if TYPE_CHECKING:
    from egressmon.policy.language.model import By


def differences(
    policy: Policy, rules: tuple[Rule, ...], *, whole: bool, narrow: bool
) -> tuple[Note, ...]:
    """Return all differences between `policy` and a filter that consists of `rules`.

    `whole` and `narrow` are as for `plan_of`.
    """
    return (
        *_of_callers(policy, narrow=narrow),
        *_of_names(policy, rules),
        *_of_look_ups(policy),
        *_of_this_machine(policy, whole=whole, narrow=narrow),
        *_of_verdicts(policy, whole=whole),
    )


def _of_callers(policy: Policy, *, narrow: bool) -> Iterator[Note]:
    for at, entry in enumerate(policy.allow):
        if entry.by is None:
            continue
        rule = f"allow[{at}].by"
        keys = ", ".join(_keys(entry.by))
        if narrow:
            text = f"the whole entry is left out: a filter cannot tell the {keys}"
            yield Note("narrower", rule, text)
        else:
            text = f"a filter cannot tell the {keys}: all of the scope may go there"
            yield Note("wider", rule, text)
    if policy.bypass == "violation":
        yield Note("wider", "bypass", "a filter cannot tell what bypasses a language")


def _keys(by: "By") -> list[str]:
    return [key for key in ("package", "exe", "module", "route") if getattr(by, key)]


def _of_names(policy: Policy, rules: tuple[Rule, ...]) -> Iterator[Note]:
    hosts = {rule.name: rule.hosts for rule in rules}
    for table, entries in (("allow", policy.allow), ("deny", policy.deny)):
        for at, entry in enumerate(entries):
            name = f"{table}[{at}]"
            if entry.host and "*" in entry.host and name in hosts:
                yield _of_wildcard(name, entry.host, hosts[name])
    if any(entry.host for entry in policy.allow):
        yield Note(
            "wider",
            "allow.host",
            "a filter goes by addresses: whatever else is at the address of such a "
            "host is reached as well, by another name or by the number",
        )
    if any(entry.host for entry in policy.deny):
        yield Note(
            "wider",
            "deny.host",
            "a filter goes by addresses: at those that the look-ups here do not find, "
            "such a host is not refused",
        )


def _of_wildcard(name: str, host: str, known: tuple[str, ...]) -> Note:
    effect: Effect = "wider" if name.startswith("deny") else "narrower"
    if known:
        shown = ", ".join(known[:3]) + (" and more" if len(known) > 3 else "")
        text = f"{host} holds for {shown} alone, as a filter cannot list all names"
    else:
        text = f"{host} is left out: a filter cannot list all names"
    return Note(effect, name, f"{text}; give others with --address NAME=ADDRESS")


def _of_look_ups(policy: Policy) -> Iterator[Note]:
    if policy.dns.queries != "any" or any(entry.host for entry in policy.deny):
        yield Note(
            "wider",
            "dns.queries",
            "a filter does not read look-ups: a trusted resolver may be asked any name",
        )


def _of_this_machine(policy: Policy, *, whole: bool, narrow: bool) -> Iterator[Note]:
    rule = "local.listeners"
    if policy.local.listeners == "scope" and not whole:
        if narrow:
            text = "a filter cannot tell who listens: loopback needs an allow entry"
            yield Note("narrower", rule, text)
        else:
            text = "a filter cannot tell who listens: relays on loopback are reached"
            yield Note("wider", rule, text)
    if whole:
        yield Note(
            "wider",
            "scope",
            "what containers and virtual machines with a network of their own send is "
            "forwarded, and not filtered: apply the filter in their network namespaces",
        )


def _of_verdicts(policy: Policy, *, whole: bool) -> Iterator[Note]:
    if policy.enforce == "report":
        text = "violations are not only reported: the filter refuses them"
        yield Note("narrower", "enforce", text)
    if whole and policy.origins.machine == "record":
        text = "what belongs to the machine itself is refused as well"
        yield Note("narrower", "origins.machine", text)
