"""Collect from the records of runs what they reached, in bounded memory."""

from typing import Any

from egressmon.drift.callers import Callers
from egressmon.drift.labels import (
    items,
    look_up_of,
    network_of,
    table,
    text_of,
)
from egressmon.drift.model import (
    MAX_ITEMS,
    MAX_VALUES,
    UNKNOWN,
    Item,
    Key,
    Seen,
    Surface,
    Values,
    Who,
)
from egressmon.reading.lines import LineError

Json = dict[str, Any]
_MAX_KNOWN = 32_768
_SINGLE = (
    "type", "op", "protocol", "local_port", "verdict", "route", "bypass", "guard",
)  # fmt: skip
"""The fields that are noted as they are."""
_LEFT_OUT = frozenset({"local", "recorded"})
_VERDICTS = _LEFT_OUT | {"allowed", "violation"}
_BYPASS = {True: "yes", False: "no", None: UNKNOWN}
_DNS_PROTOCOL = "dns"


class TooMuchError(Exception):
    """There are more different values than are kept; the message says of what."""


class Collector:
    """Puts what records say into a surface."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._run = 0
        self._values = 0
        self._texts: dict[str, str] = {}
        """Each value once, as most destinations have the same."""
        self._callers = Callers()
        self._known: set[tuple[object, ...]] = set()
        """What was noted in this run already, by all that is noted of it."""

    @property
    def missing(self) -> int:
        """How many references of this run had nothing to refer to."""
        return self._callers.missing

    def begin(self, run: int) -> None:
        """Go on with the run at that place of the surface's."""
        self._run = run
        self._callers = Callers()
        self._known.clear()

    def refer(self, record: Json) -> None:
        """Note what others refer to: an `actor` or a `module` record."""
        self._callers.refer(record)
        self._known.clear()  # the digest may have stood for another

    def connection(self, record: Json) -> None:
        """Note a connection, if it may have left the machine."""
        if record.get("relayed") or _verdict(record) in _LEFT_OUT:
            return
        dst = table(record["dst"])
        names = items(dst["names"])
        first = table(names[0])["name"] if names else None
        if self._is_known(record, dst["ip"], dst["port"], first):
            return
        protocol = text_of(record["protocol"])
        if record["op"] == "accept":
            self._accepted(record, protocol)
            return
        name = text_of(first) if first else ""
        network = "" if name else network_of(dst["ip"])
        key = Key("destination", name, network, _port(dst["port"]), protocol)
        self._note(key, record, {})

    def _accepted(self, record: Json, protocol: str) -> None:
        port = _port(record.get("local_port"))
        listener = f"{port if port >= 0 else '-'}/{protocol}"
        self.fact("listeners", listener)
        if record["verdict"] == "violation":
            who = self._callers.of(record).who
            self._put(self._surface.intruded, listener, who)

    def look_up(self, record: Json) -> None:
        """Note a look-up, and the resolver that was asked."""
        if _verdict(record) in _LEFT_OUT:
            return
        if self._is_known(record, record["resolver"], record["kind"], record["name"]):
            return
        self.fact("resolvers", text_of(f"{record['resolver']}/{record['protocol']}"))
        name = record["name"]
        shown = look_up_of(name) if isinstance(name, str) else UNKNOWN
        key = Key("lookup", shown, "", -1, _DNS_PROTOCOL)
        self._note(key, record, {"kinds": text_of(record["kind"] or UNKNOWN)})

    def fact(self, name: str, value: str) -> None:
        """Note `value` of the runs as a whole."""
        self._put(self._surface.facts.setdefault(name, {}), value, None)

    # Raises TypeError where a field is a list, which it is in none of ours.
    def _is_known(self, record: Json, *where: object) -> bool:
        process, code = table(record["process"]), table(record["code"])
        package = table(code.get("package"))
        known = (
            *where,
            *(record.get(name) for name in _SINGLE),
            process.get("digest"),
            process.get("comm"),
            table(record["module"]).get("digest"),
            package.get("kind"),
            package.get("name"),
            package.get("version"),
            code.get("test"),
        )
        if known in self._known:
            return True
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known.add(known)
        return False

    def _note(self, key: Key, record: Json, more: dict[str, str]) -> None:
        caller = self._callers.of(record)
        who = caller.who
        item = self._surface.items.get(key)
        if item is None:
            if len(self._surface.items) >= MAX_ITEMS:
                raise TooMuchError(f"more than {MAX_ITEMS} destinations and look-ups")
            item = self._surface.items[key] = Item(Seen(self._run, self._run, who))
            if key.network:
                item.address = text_of(table(record["dst"])["ip"])
        item.seen.also(self._run)
        single = {
            "verdicts": text_of(record["verdict"]),
            "programs": who.program or UNKNOWN,
            "routes": text_of(record["route"]),
            "bypass": _BYPASS.get(record["bypass"], UNKNOWN),
        }
        if record.get("guard") is not None:
            single["guard"] = text_of(record["guard"])
        for name, value in (single | more).items():
            self._aspect(item, name, value, who)
        for value in caller.modules:
            self._aspect(item, "modules", value, who)
        for package, version in caller.packages:
            self._aspect(item, "packages", package, who)
            versions = self._surface.versions.setdefault(package, {})
            self._put(versions, version, who)
        if not caller.packages:
            self._aspect(item, "packages", caller.no_package, who)

    def _aspect(self, item: Item, name: str, value: str, who: Who) -> None:
        self._put(item.aspects.setdefault(name, {}), value, who)

    def _put(self, values: Values, value: str, who: Who | None) -> None:
        if (seen := values.get(value)) is not None:
            seen.also(self._run)
            return
        self._values += 1
        if self._values > MAX_VALUES:
            raise TooMuchError(f"more than {MAX_VALUES} different values")
        one = Seen(self._run, self._run)
        if who is not None:
            one.who = who
        values[self._texts.setdefault(value, value)] = one


# Another would be neither left out nor a violation.
def _verdict(record: Json) -> str:
    found = record["verdict"]
    if found not in _VERDICTS:
        raise LineError("has a verdict that is none")
    return str(found)


def _port(value: object) -> int:
    if value is None:
        return -1
    if type(value) is not int or not 0 <= value < 1 << 16:
        raise LineError("has a port that is none")
    return value
