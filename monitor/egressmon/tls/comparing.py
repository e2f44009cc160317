"""How what a host has now differs from what a baseline keeps of it: pure."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from egressmon.tls.tables import Table, Value

PROTOCOLS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
"""The older, the lower."""


class Difference(NamedTuple):
    """One thing that is another than it was."""

    what: str
    """A key of the table; `invalid` where a certificate validated, and does no more."""
    old: tuple[str, ...]
    new: tuple[str, ...]
    counts: Literal["drift", "note"]
    """note: it changes without anybody's doing, or for the better."""


def compare(old: Table, new: Table) -> Iterator[Difference]:
    """Yield the differences of two tables of one host, as `table_of` makes them.

    What `old` does not have was not recorded then, and is not compared: it may come
    from another version of egressmon.
    """
    if old.get("valid") is True and new.get("valid") is False:
        yield Difference("invalid", ("valid",), ("not valid",), "drift")
    if old.get("valid") is False and new.get("valid") is True:
        yield Difference("invalid", ("not valid",), ("valid",), "note")
    # The order is the chain's: it is compared, too.
    yield from _changed("issuers", old, new, "drift")
    yield from _names(old, new)
    yield from _changed("key", old, new, "drift")
    is_lower = _rank(new.get("protocol")) < _rank(old.get("protocol"))
    yield from _changed("protocol", old, new, "drift" if is_lower else "note")
    yield from _changed("cipher", old, new, "note")
    yield from _changed("alpn", old, new, "note")


def _changed(
    what: str, old: Table, new: Table, counts: Literal["drift", "note"]
) -> Iterator[Difference]:
    before, now = old.get(what), new.get(what)
    if before is not None and before != now:
        yield Difference(what, _texts(before), _texts(now), counts)


def _names(old: Table, new: Table) -> Iterator[Difference]:
    before, now = old.get("names"), new.get("names")
    if not isinstance(before, tuple) or not isinstance(now, tuple):
        return
    gone, more = sorted({*before} - {*now}), sorted({*now} - {*before})
    if gone or more:
        yield Difference("names", tuple(gone), tuple(more), "drift")
    # Where not all are kept, what is kept says nothing of the rest.
    yield from _changed(
        "names_left_out",
        {"names_left_out": old.get("names_left_out", 0)},
        {"names_left_out": new.get("names_left_out", 0)},
        "drift",
    )


def _rank(protocol: Value | None) -> int:
    return PROTOCOLS.index(protocol) if protocol in PROTOCOLS else len(PROTOCOLS)


def _texts(value: Value | None) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, tuple) else (str(value),)
