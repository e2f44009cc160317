"""Join two views of the same connections: what only one of them has is a finding."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from egressmon.reconciling.sightings import Key, Seen, Sightings
from egressmon.values import dataclass, field

_CLOCKS_S = 0.05  # by how much the two clocks may differ
Kind: TypeAlias = Literal["defied", "around", "unguarded", "unseen"]
"""What is wrong: the guard refused it, and it left all the same; the guard of its
process was not asked; its process has no ledger; the guard let it pass, and the kernel
has nothing of it."""
KINDS: tuple[Kind, ...] = ("defied", "around", "unguarded", "unseen")


class Finding(NamedTuple):
    """What only one of the two saw."""

    kind: Kind
    seen: Seen


@dataclass(slots=True)
class Joined:
    """What came of it."""

    both: int = 0
    """Connections that both saw."""
    repeated: int = 0
    """Decisions about a peer to which the kernel has fewer connections: it tells of the
    first datagram alone, and of a connection once it sends."""
    refused: int = 0
    """Decisions by which nothing left, as they should."""
    findings: list[Finding] = field(default_factory=list[Finding])


def join(kernel: Sightings, guard: Sightings) -> Joined:
    """Return what only one of `kernel` and `guard` saw, in order of time."""
    found = Joined()
    decided = _by_key(guard.seen)
    guarded = {key.pid for key in decided}
    left = _by_key(kernel.seen)
    taken: set[Key] = set()
    for key, connections in left.items():
        decisions = _decisions(key, connections, decided, taken)
        if key.pid in guarded:
            _match(connections, decisions, found)
        else:
            found.findings += [Finding("unguarded", one) for one in connections]
    for key, decisions in decided.items():
        for one in () if key in taken else decisions:
            if one.is_refused:
                found.refused += 1
            else:
                found.findings.append(Finding("unseen", one))
    found.findings.sort(key=lambda one: one.seen.at)
    return found


def _by_key(seen: Iterable[Seen]) -> dict[Key, list[Seen]]:
    found: defaultdict[Key, list[Seen]] = defaultdict(list)
    for one in sorted(seen, key=lambda one: one.at):
        found[one.key].append(one)
    return found


# Those about the address, and about the names that it has.
def _decisions(
    key: Key,
    connections: list[Seen],
    decided: dict[Key, list[Seen]],
    taken: set[Key],
) -> list[Seen]:
    names = {name for one in connections for name in one.names}
    keys = [key, *(key._replace(address=name) for name in sorted(names))]
    found = [one for key in keys if key not in taken for one in decided.get(key, ())]
    taken.update(keys)
    return sorted(found, key=lambda one: one.at)


# Both in order of time. A connection uses up the earliest decision before it, and one
# that went around the guard none: a decision about the same peer was another's.
def _match(connections: list[Seen], decisions: list[Seen], found: Joined) -> None:
    allowed = [one for one in decisions if not one.is_refused]
    refused = [one for one in decisions if one.is_refused]
    used = 0
    for one in connections:
        until = one.at + _CLOCKS_S
        is_decided = used < len(allowed) and allowed[used].at <= until
        if is_decided and not one.went_around:
            used += 1
            found.both += 1
        elif refused and refused[0].at <= until:
            found.findings.append(Finding("defied", one))
        else:
            found.findings.append(Finding("around", one))
    found.refused += len(refused)
    if used:
        found.repeated += len(allowed) - used
    else:
        found.findings += [Finding("unseen", one) for one in allowed]
