"""Compare what is said of runs as a whole: resolvers, listeners, blind spots, bytes."""

from collections.abc import Iterator

from egressmon.drift.findings import Change
from egressmon.drift.model import Content, Surface

_KINDS = {
    "resolvers": "resolver",
    "listeners": "listener",
    "escapes": "escape",
    "blind_spots": "blind_spot",
}


def fact_changes(old: Content, new: Surface, orders: int) -> Iterator[Change]:
    """Yield what is new or gone of the runs' facts.

    `orders` is by how many orders of magnitude what they send must differ.
    """
    for name, kind in _KINDS.items():
        before, now = {*old.facts.get(name, ())}, new.facts.get(name, {})
        for value in now.keys() - before:
            yield Change("new", kind, value, since=new.since(now[value]))
        for value in before - now.keys():
            yield Change("gone", kind, value)
    yield from _policies(old, new)
    yield from _bytes(old, new, orders)


def _policies(old: Content, new: Surface) -> Iterator[Change]:
    before = old.facts.get("policies", ())
    now = tuple(sorted(new.facts.get("policies", ())))
    if before and now and before != now:
        yield Change("changed", "policy", "the policy of the run", before, now)


def _bytes(old: Content, new: Surface, orders: int) -> Iterator[Change]:
    before = old.facts.get("bytes_sent", ())
    now = new.facts.get("bytes_sent", {})
    if not before or not now:
        return
    powers = [*map(_power, before)]
    far = [one for one in sorted(now) if _is_far(_power(one), powers, orders)]
    if far:
        since = new.since(now[far[0]])
        what = "bytes that a run sends"
        yield Change("changed", "bytes", what, before, tuple(far), since=since)


def _is_far(power: int, powers: list[int], orders: int) -> bool:
    return power <= min(powers) - orders or power >= max(powers) + orders


def _power(order: str) -> int:
    number = order.removeprefix("10^")
    return int(number) if number.isdecimal() and number.isascii() else 0
