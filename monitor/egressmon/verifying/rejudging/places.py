"""The places of a run, as its evidence tells of them, and what was learned in each."""

import ipaddress
from collections import OrderedDict
from typing import Any

from egressmon.policy.judging.judge import Judge
from egressmon.policy.language.search import SearchList
from egressmon.verifying.rejudging.learned import Learned

Json = dict[str, Any]
HOME = 0
_SAME = ("netns", "container")
_MAX_PLACES = 4096


class Places:
    """What was learned in each place, and how names are looked up there; bounded."""

    def __init__(self) -> None:
        self._learned: OrderedDict[int, Learned] = OrderedDict({HOME: Learned()})
        self._nowhere = Learned()
        self._told: dict[int, Json] = {}
        self._judges: dict[int, Judge] = {}
        self._lessons = 0
        self._forgotten = 0

    @property
    def version(self) -> int:
        """Another number once a record might be judged in another way than before."""
        return self._lessons

    @property
    def forgotten(self) -> int:
        """How much was forgotten of what look-ups and places say, being too much."""
        return self._forgotten + sum(one.forgotten for one in self._learned.values())

    def tell(self, record: Json, judge: Judge | None) -> str | None:
        """Learn of a place from its record; return what is wrong with that.

        `judge` is the machine's; None: nothing is judged. Raises ValueError for an
        address that is none.
        """
        number = record["number"]
        before = self._told.get(number)
        if before is None and number != len(self._told) + 1:
            return f"tells of place {number}, and the last one was {len(self._told)}"
        if before is not None and any(before[one] != record[one] for one in _SAME):
            return f"place {number} is another than before"
        self._told[number] = record
        self._lessons += 1
        resolvers = frozenset(map(ipaddress.ip_address, record["resolvers"]))
        if judge is None:
            return None
        search = SearchList(tuple(record["search"]), record["ndots"])
        self._judges[number] = judge.at(resolvers, search)
        more = resolvers - judge.resolvers
        if not judge.resolvers <= resolvers:
            return f"place {number} does not trust the run's resolvers"
        if more and judge.policy.dns.resolvers != "system":
            return f"place {number} trusts others than the policy does"
        return None

    def forget_judges(self) -> None:
        """Forget who judges in each place: what follows is under another policy.

        Each place is told of again then.
        """
        self._judges.clear()
        self._lessons += 1

    def is_known(self, place: int | None) -> bool:
        """Tell whether a record so far told of `place`."""
        return place is None or place == HOME or place in self._told

    def judge(self, place: int | None, judge: Judge) -> Judge:
        """Return the judge of `place`; `judge` is the machine's."""
        return self._judges.get(place, judge) if place is not None else judge

    def at(self, place: int | None) -> Learned:
        """Return what the look-ups so far say in `place`."""
        if place is None:
            return self._nowhere
        found = self._learned.get(place)
        if found is None:
            found = self._learned[place] = Learned()
            if len(self._learned) > _MAX_PLACES:
                self._learned.popitem(last=False)
                self._forgotten += 1
        return found

    def learn(self, record: Json) -> None:
        """Learn from a look-up that the run believed."""
        place = record.get("place", HOME)
        if place is None:
            return
        learned = self.at(place)
        before = learned.version
        learned.learn(record)
        self._lessons += learned.version != before
