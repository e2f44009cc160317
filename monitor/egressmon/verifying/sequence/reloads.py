"""Check what a run says of its policies: their order, and what each judged."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from egressmon.verifying.sequence.counting import Counts

Json = dict[str, Any]
_MAX = 1000


class Reloads:
    """The policies of a run so far, and what the records by each add up to."""

    def __init__(self) -> None:
        self._said: list[tuple[str, Json, Json]] = []
        """Digest, connections and look-ups of each policy that was replaced."""
        self._last: str | None = None
        self._before: tuple[Counter[str], Counter[str]] = Counter(), Counter()

    def take(self, record: Json, counts: Counts) -> Iterator[str]:
        """Note a `policy` record after records with these `counts`.

        Yields what is wrong with it.
        """
        if self._last is not None and record["before"] != self._last:
            yield f"`before` is {record['before']}, and it was {self._last}"
        found = self._since(counts)
        self._before = Counter(counts.connections), Counter(counts.queries)
        self._last = record["policy_digest"]
        said = record["connections"], record["queries"]
        if len(self._said) < _MAX:
            self._said.append((record["before"], *said))
        yield from _differences(said, found)

    def differences(
        self, end: Json, first: str | None, counts: Counts
    ) -> Iterator[str]:
        """Yield where `run.end` says otherwise of the policies than the records.

        `first` is the digest of the policy that the run began with.
        """
        policies = end.get("policies", [])
        if self._last is None:
            if policies:
                yield "`policies` is there, and no record says that it was reloaded"
            return
        if first is not None and self._said[0][0] != first:
            yield f"the first policy is {first}, and {self._said[0][0]} was replaced"
        wanted = [*(one for one, _, _ in self._said), self._last]
        if [one["policy_digest"] for one in policies] != wanted:
            yield f"`policies` has others than the records: {wanted}"
            return
        for one, (_, *said) in zip(policies, self._said, strict=False):
            if [one["connections"], one["queries"]] != said:
                yield f"`policies` has other counts of {one['policy_digest']}"
        last = policies[-1]["connections"], policies[-1]["queries"]
        yield from _differences(last, self._since(counts))

    def _since(self, counts: Counts) -> tuple[Json, Json]:
        return (
            dict(counts.connections - self._before[0]),
            dict(counts.queries - self._before[1]),
        )


def _differences(said: tuple[Json, Json], found: tuple[Json, Json]) -> Iterator[str]:
    for name, one, other in zip(("connections", "queries"), said, found, strict=True):
        if {word: count for word, count in one.items() if count} != other:
            yield f"`{name}` by a policy are {one}, and the records have {other}"
