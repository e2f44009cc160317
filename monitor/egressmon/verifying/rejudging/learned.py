"""What the run learned of names, learned again from the look-ups in its evidence.

The text of an answer is read as naming/dns/message.py reads the answer itself.
"""

from collections import OrderedDict
from typing import Any

from egressmon.naming.absent import Absent
from egressmon.naming.aliases import Aliases
from egressmon.policy.language.names import canonical
from egressmon.text import unescape

Json = dict[str, Any]
_MAX_CHAIN = 16
_MAX_PAIRS = 131_072
_MAX_NAME = 1024  # as escaped; a name has 255 characters: RFC 1035
_ADDRESSES = frozenset({"A", "AAAA", "SVCB", "HTTPS"})


class Learned:
    """Which names have which addresses, lead to others, and do not exist."""

    def __init__(self) -> None:
        self.aliases = Aliases()
        self.absent = Absent()
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.forgotten = 0
        """How many pairs of a name and an address were forgotten, being too many."""

    @property
    def version(self) -> tuple[int, int]:
        """Another value once aliases or absent names are others than before."""
        return self.aliases.version, self.absent.version

    def learn(self, record: Json) -> None:
        """Learn from a look-up that the run believed."""
        name, kind = record["name"], record["kind"]
        if not record["trusted"] or name is None or record["status"] is None:
            return
        if any(len(one) > 4 * _MAX_NAME for one in (name, *record["answers"])):
            return  # nobody's answer: what is kept must be bounded
        if kind in {"A", "AAAA"}:
            is_there = record["status"] != "NXDOMAIN"
            self.absent.note(unescape(name), is_there=is_there)
        if kind not in _ADDRESSES or record["status"] != "NOERROR":
            return
        rows = [row for one in record["answers"] if len(row := one.split(" ", 2)) == 3]
        aliases, addresses = _followed(name, kind, rows)
        self.aliases.learn(unescape(name), map(unescape, aliases))
        for address in addresses:
            self._pairs[name, address] = None
            self._pairs.move_to_end((name, address))
        while len(self._pairs) > _MAX_PAIRS:
            self._pairs.popitem(last=False)
            self.forgotten += 1

    def has(self, name: str, address: str) -> bool:
        """Tell whether a look-up so far says that `name`, as written, has `address`."""
        return (name, address) in self._pairs

    def knows(self, address: str) -> bool:
        """Tell whether a look-up so far gave `address` any name."""
        return any(known == address for _, known in self._pairs)


# The aliases of `name`, in order, and the addresses at their end.
def _followed(
    name: str, kind: str, rows: list[list[str]]
) -> tuple[list[str], list[str]]:
    aliases: list[str] = []
    for _ in range(_MAX_CHAIN):
        values = [value for owner, of, value in rows if owner == name and of == kind]
        if values:
            return aliases, [one for value in values for one in _addresses(kind, value)]
        alias = _alias(name, rows)
        if alias is None:
            break
        name = alias
        aliases.append(name)
    return aliases, []


def _alias(name: str, rows: list[list[str]]) -> str | None:
    leads = {
        canonical(value) for owner, of, value in rows if owner == name and of == "CNAME"
    }
    if not leads:
        leads = {
            f"{name.removesuffix('.' + owner)}.{canonical(value)}"
            for owner, of, value in rows
            if of == "DNAME" and name.endswith(f".{owner}")
        }
    return leads.pop() if len(leads) == 1 else None


# A hint is `ipv4hint="192.0.2.1,192.0.2.2"`.
def _addresses(kind: str, value: str) -> list[str]:
    if kind in {"A", "AAAA"}:
        return [value]
    words = (word.partition("=") for word in value.split(" "))
    hints = (text for key, _, text in words if key in {"ipv4hint", "ipv6hint"})
    return [one for text in hints for one in text.strip('"').split(",")]
