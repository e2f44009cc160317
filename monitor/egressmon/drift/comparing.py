"""Compare what runs reached with a baseline: a pure function."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from egressmon.drift.comparable import why_not_both, why_not_one
from egressmon.drift.facts import fact_changes
from egressmon.drift.findings import WORDS, Change, Comparison, Count
from egressmon.drift.handshakes import Shaken, tls_changes, tls_problems
from egressmon.drift.model import Baseline, Surface
from egressmon.drift.reached import reached_changes
from egressmon.drift.toml_form import digest_of

if TYPE_CHECKING:
    from egressmon.policy.language.default import Drift as DefaultSettings
    from egressmon.policy.language.drift import Drift

    Settings: TypeAlias = Drift | DefaultSettings


def compare(
    baseline: Baseline,
    surface: Surface,
    settings: "Settings",
    policy: str | None,
    shaken: Sequence[Shaken] | None = None,
) -> Comparison:
    """Return how `surface` differs from `baseline`.

    `settings` say how much each change counts; `policy` is the digest of the one that
    holds now, if there is one; `shaken` is what servers have, if they were asked.
    """
    problems = why_not_one(surface)
    problems += why_not_both(baseline.content, surface, policy)
    weighing = _Weighing(settings)
    found = [
        *_of_file(baseline),
        *reached_changes(baseline.content, surface),
        *fact_changes(baseline.content, surface, settings.bytes_orders),
        *(tls_changes(baseline.content, shaken) if shaken is not None else ()),
    ]
    changes = _once(weighing.weighed(found))
    if problems:  # what was not seen may be in what is missing
        changes = [one for one in changes if one.word != "gone"]
    problems += tls_problems(shaken or ())
    order = {word: place for place, word in enumerate(WORDS)}
    changes.sort(key=lambda one: (order[one.word], one.kind, one.what, one.new))
    return Comparison(
        changes=tuple(changes),
        problems=tuple(problems),
        notes=tuple(surface.notes),
        runs=tuple(surface.runs),
        ignored=weighing.ignored,
    )


def _of_file(baseline: Baseline) -> Iterator[Change]:
    now = digest_of(baseline.content)
    reviewed = baseline.reviews[-1].digest if baseline.reviews else baseline.digest
    if now != reviewed or now != baseline.digest:
        last = "its last review" if baseline.reviews else "it was written"
        what = f"the baseline was edited since {last}"
        yield Change("changed", "edited", what, (reviewed,), (now,))
    if not baseline.reviews:
        what = "nobody has reviewed the baseline"
        yield Change("changed", "unreviewed", what)


# What is told as a violation is not told as new, too, unless new things count for more.
def _once(changes: list[Change]) -> list[Change]:
    told = {one.what: one.counts for one in changes if one.word == "violation"}
    return [
        one
        for one in changes
        if one.word != "new" or told.get(one.what) not in {"drift", one.counts}
    ]


class _Weighing:
    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self.ignored = 0

    def weighed(self, found: Iterable[Change]) -> list[Change]:
        """Return what is to be told of `found`, each with how much it counts."""
        told: list[Change] = []
        for one in found:
            counts = self._count(one)
            if counts is None:
                self.ignored += 1
            else:
                told.append(one._replace(counts=counts))
        return told

    # What comparing called a note is one at most: it is not known to be a change.
    def _count(self, one: Change) -> Count | None:
        said = {str(getattr(self._settings, one.kind)), one.counts}
        if one.word == "gone":
            said.add(self._settings.gone)
        if "ignore" in said:
            return None
        return "note" if "note" in said else "drift"
