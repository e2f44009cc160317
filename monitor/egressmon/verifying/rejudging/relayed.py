"""Check that what a helper repeats was begun by somebody, and judged as it says."""

from collections import OrderedDict
from typing import Any

from egressmon.attribution.helpers import NETWORK_HELPERS, PUBLISHER

Json = dict[str, Any]
_Key = tuple[object, ...]
_Word = tuple[str, str | None]
_HOME = 0
_MAX_BEGUN = 65536


class Begun:
    """The connections that may be repeated; of many, the last."""

    def __init__(self) -> None:
        self._begun: OrderedDict[_Key, _Word] = OrderedDict()
        self._has_forgotten = False

    def add(self, record: Json) -> None:
        """Note a connection that is no repeated one."""
        process, dst = record["process"], record["dst"]
        place, pid = record.get("place", _HOME), process["pid"] if process else 0
        word = record["verdict"], record["rule"]
        for key in (
            (place, pid, dst["ip"], dst["port"], record["protocol"]),
            (place, pid, record["protocol"], *word),
        ):
            self._begun[key] = word
            self._begun.move_to_end(key)
        while len(self._begun) > _MAX_BEGUN:
            self._begun.popitem(last=False)
            self._has_forgotten = True

    def why_not(self, record: Json) -> str | None:
        """Return why `record` repeats nothing; None: it may."""
        relayed, dst, protocol = record["relayed"], record["dst"], record["protocol"]
        who = relayed["place"], relayed["pid"]
        word = record["verdict"], record["rule"]
        helper = relayed["helper"]
        if record["op"] == "accept" or helper not in {*NETWORK_HELPERS, PUBLISHER}:
            return f"{helper} repeats no such thing"
        if helper == PUBLISHER:
            found = self._begun.get((*who, protocol, *word))
        elif relayed["place"] == record.get("place", _HOME):
            return "it repeats what was begun in the same place"
        else:
            found = self._begun.get((*who, dst["ip"], dst["port"], protocol))
        if found == word or (found is None and self._has_forgotten):
            return None
        return "it repeats a connection that is not before it"
