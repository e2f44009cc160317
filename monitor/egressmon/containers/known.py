"""Which container a process is in: told once as a claim, and again by its engine."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeAlias

from egressmon.containers.cgroups import Cgroup, Cgroups
from egressmon.containers.choice import Choice
from egressmon.containers.paths import Claim, claim_of, unknown_claim
from egressmon.containers.questions import Answer, Questions
from egressmon.events.model import CgroupChanged
from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.values import replace

_MAX_KNOWN = 8192
_MAX_CACHED = 65536
_SEARCH_EVERY_S = 1.0
_TURN_S = 0.01
_UNASKED = "its engine was not asked yet"
_ENDED = "the run ended before its engine answered"
_NAMELESS = "a pid namespace of its own is all that tells of it"
_PATHLESS = (
    "the path of its cgroup is not known: what told of it was lost, or there were too "
    "many cgroups"
)


Tell: TypeAlias = Callable[[ContainerRecord], None]


class Containers:
    """The containers by their cgroups: claims first, then what engines say."""

    def __init__(
        self,
        cgroups: Cgroups,
        questions: Questions,
        record: Tell,
        search: Callable[[], Iterable[Cgroup]],
        choice: Choice | None = None,
    ) -> None:
        """Tell `record` of each container, and have `search` walk the hierarchy anew.

        That is done where a cgroup is not known, once in a second at most. `choice`
        judges which are watched; None: nobody asks.
        """
        self._choice = choice
        self._inner: dict[str, list[str]] = {}
        """By container, those in it that are watched if it is, which is open yet."""
        self._cgroups = cgroups
        self._questions = questions
        self._record = record
        self._search = search
        self._next_search = 0.0
        self._keys: dict[tuple[int, str | None], str | None] = {}
        self._known: OrderedDict[str, ContainerRecord] = OrderedDict()

    def on_change(self, event: CgroupChanged) -> None:
        """Follow cgroups that come and go."""
        self._cgroups.on_change(event)
        if self._choice is None or not event.is_made or event.is_cut:
            return
        if claim_of(event.path) is not None:
            self.key_of(event.cgroup, inside=None)  # to ask as early as can be

    def meet_existing(self) -> None:
        """Ask about the containers that are there, before anything happens in them."""
        for one in self._cgroups.all():
            if claim_of(one.path) is not None:
                self.key_of(one.id, inside=None)

    def cgroup_at(self, path: str) -> int:
        """Return the id of the cgroup that is at `path` now; 0: unknown."""
        cgroup = self._cgroups.at(path)
        return cgroup.id if cgroup is not None else 0

    def key_at(self, path: str, *, inside: str | None) -> str | None:
        """Return the key of the container that the cgroup now at `path` is of."""
        cgroup = self._cgroups.at(path)
        return self.key_of(cgroup.id, inside=inside) if cgroup is not None else None

    def key_of(self, cgroup: int, *, inside: str | None) -> str | None:
        """Return the key of the container that the cgroup with that id is of.

        None: of none. `inside` is in which pid namespace of its own, as those of
        containers are, a process of it is; None: in none. 0 as the id: it is not known.
        """
        if not cgroup:
            return None
        known = self._keys.get((cgroup, inside), "")
        if known != "":
            return known
        key = self._meet(cgroup, inside)
        if len(self._keys) >= _MAX_CACHED:
            self._keys.clear()
        self._keys[cgroup, inside] = key
        return key

    def attend(self) -> None:
        """Ask engines, and record what they say; wait for nothing."""
        self._questions.attend()
        if self._choice is not None:
            self._give_up(self._choice.late())

    def settle(self, why: str, keys: Iterable[str] | None = None) -> None:
        """Have what is still open about containers watched, because of `why`.

        `keys` are those that this is about; None: all.
        """
        if self._choice is not None:
            left = self._choice.open()
            self._give_up(left if keys is None else set(left) & set(keys), why)

    @property
    def is_waiting(self) -> bool:
        """Whether an engine may still answer."""
        return not self._questions.is_idle

    def finish(self, patience_s: float, meanwhile: Callable[[], None]) -> None:
        """Wait so long for what is asked, then record that it was not answered.

        `meanwhile` is called again and again, as other things go on.
        """
        until = time.monotonic() + patience_s
        while not self._questions.is_idle and time.monotonic() < until:
            meanwhile()
            self._questions.attend()
            time.sleep(_TURN_S)
        self._questions.give_up(_ENDED)
        self._questions.close()
        self.settle(_ENDED)

    def _meet(self, number: int, inside: str | None) -> str | None:
        cgroup = self._cgroups.lookup(number) or self._sought(number)
        if cgroup is None:
            return self._unknown(number)
        claim = claim_of(cgroup.path)
        if claim is None:
            if inside is None:
                return None
            claim = unknown_claim(cgroup.path, inside)
        return self._container(claim, cgroup)

    def _sought(self, number: int) -> Cgroup | None:
        if time.monotonic() < self._next_search:
            return None
        self._next_search = time.monotonic() + _SEARCH_EVERY_S
        self._cgroups.add(self._search())
        return self._cgroups.lookup(number)

    # `below` is the container's own cgroup, or one that it has made.
    def _container(self, claim: Claim, below: Cgroup) -> str:
        is_own = below.path == claim.path
        own = below if is_own else self._cgroups.at(claim.path) or below
        key = claim.key(own.id)
        if key in self._known:
            return key
        outer = None
        if claim.outer is not None and (inner := claim_of(claim.outer)) is not None:
            outer = self._container(inner, below)
        self._tell(claim, own, key, outer)
        return key

    def _tell(self, claim: Claim, own: Cgroup, key: str, outer: str | None) -> None:
        reason: str | None = _NAMELESS
        if claim.engine != "cgroup":
            reason = self._questions.ask(
                claim, lambda answer: self._answered(key, claim, own, answer)
            )
        self._put(
            replace(
                _record(key, claim.engine, reason or _UNASKED),
                id=claim.id,
                cgroup=claim.path,
                made_by=own.maker if own.path == claim.path else None,
                outer=outer,
            ),
            is_open=reason is None,
        )

    def _unknown(self, number: int) -> str:
        key = f"unknown:@{number}"
        if key not in self._known:
            self._put(_record(key, "unknown", _PATHLESS))
        return key

    def _answered(self, key: str, claim: Claim, own: Cgroup, answer: Answer) -> None:
        before = self._known.get(key)
        if before is None:
            return  # there were too many others since
        if answer.facts is None:
            self._put(replace(before, reason=answer.reason))
            return
        facts, doubt = answer.facts, _doubt(claim, own, answer)
        self._put(
            replace(
                before,
                name=facts.name,
                image=facts.image,
                labels=list(facts.labels),
                labels_cut=facts.labels_cut,
                pid=facts.pid,
                confirmed=doubt is None,
                reason=doubt or (None if facts.name else "its engine says no name"),
            ),
            is_whole=facts.id is not None,
        )

    def _put(
        self, record: ContainerRecord, *, is_open: bool = False, is_whole: bool = False
    ) -> None:
        if self._choice is not None:
            record = self._choice.judged(record, is_open=is_open, is_whole=is_whole)
        self._keep(record)

    def _keep(self, record: ContainerRecord) -> None:
        self._known[record.key] = record
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        self._record(record)
        if record.watched == "open" and record.outer is not None:
            self._inner.setdefault(record.outer, []).append(record.key)
        elif record.watched != "open":
            for inner in self._inner.pop(record.key, ()):
                if inner in self._known:
                    self._put(self._known[inner])

    def _give_up(self, keys: Iterable[str], *why: str) -> None:
        if self._choice is None:
            return
        for key in keys:
            if (one := self._known.get(key)) is not None:
                self._keep(self._choice.given_up(one, *why))
            else:
                self._choice.forget(key)


def _record(key: str, engine: str, reason: str) -> ContainerRecord:
    return ContainerRecord(
        key=key,
        engine=engine,
        id=None,
        cgroup=None,
        made_by=None,
        outer=None,
        name=None,
        image=None,
        labels=[],
        labels_cut=False,
        pid=None,
        confirmed=False,
        reason=reason,
    )


# Anybody to whom a part of the hierarchy was given can name a cgroup there as another's
# container: what an engine of root's says holds for cgroups that root made.
def _doubt(claim: Claim, own: Cgroup, answer: Answer) -> str | None:
    facts = answer.facts
    if facts is not None and facts.id is not None and facts.id != claim.id:
        return "its engine told of another container"
    if answer.owner:
        return f"what was asked about it belongs to user {answer.owner}"
    if own.maker:
        return f"user {own.maker} made its cgroup, and may have given it any name"
    if own.path != claim.path:
        return "who made its cgroup is not known"
    return None
