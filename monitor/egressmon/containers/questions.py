"""The agent's questions about containers: what waits, is asked, and is answered."""

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from egressmon.containers.facts import (
    Facts,
    FactsError,
    facts_of_answer,
    facts_of_bundle,
)
from egressmon.containers.paths import Claim
from egressmon.containers.protocol import (
    ANSWER,
    MAX_AT_ONCE,
    MAX_BYTES,
    PATIENCE_S,
    REQUEST,
    Told,
)
from egressmon.containers.sources import Source
from egressmon.values import dataclass, replace

MAX_WAITING = 1024
_MAX_TRIES = 3
_ENDED = "the process that asks engines has ended"
_REASONS = {
    Told.ABSENT: "no engine is there to be asked",
    Told.REFUSED: "its engine could not be asked",
    Told.LATE: f"its engine did not answer {_MAX_TRIES} times, in {PATIENCE_S:.0f} s",
    Told.HUGE: "what its engine says is too long",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question: facts, or the reason why there are none."""

    facts: Facts | None
    reason: str | None
    owner: int
    """The uid of who owns what was asked."""


Answered: TypeAlias = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class _Question:
    id: str
    source: int
    others: tuple[int, ...]
    """Those that are asked where that is not there."""
    on_answer: Answered
    tries: int = 0
    reason: str | None = None
    """Why the one before, which was there, says nothing."""


class Questions:
    """Asks for some containers at a time; what is too much is answered at once."""

    def __init__(
        self, asker: socket.socket | None, sources: tuple[Source, ...]
    ) -> None:
        """Ask the process at the other end of `asker`, which knows these `sources`."""
        self._asker = asker
        self._sources = sources
        self._waiting: deque[_Question] = deque()
        self._asked: dict[int, _Question] = {}
        self._number = 0
        if asker is not None:
            asker.setblocking(False)

    @property
    def is_idle(self) -> bool:
        """Whether no answer is to come."""
        return not self._waiting and not self._asked

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is an answer; -1: never."""
        return self._asker.fileno() if self._asker is not None else -1

    def ask(self, claim: Claim, on_answer: Answered) -> str | None:
        """Have `on_answer` called later; or return why nobody is asked."""
        if claim.outer is not None:
            return "its engine is inside another container, and is not asked"
        which = tuple(
            number
            for number, one in enumerate(self._sources)
            if claim.engine in one.engines
        )
        if not which or not claim.has_hash:
            return "no engine can be asked about it"
        if self._asker is None:
            return _ENDED
        if len(self._waiting) >= MAX_WAITING:
            return "too many containers were waiting to be asked about"
        self._waiting.append(_Question(claim.id, which[0], which[1:], on_answer))
        return None

    def attend(self) -> None:
        """Take what answers there are, and ask what there is room for."""
        while self._asker is not None and self._take():
            pass
        while self._asker is not None and self._waiting:
            if len(self._asked) >= MAX_AT_ONCE:
                return
            self._send(self._waiting.popleft())

    def give_up(self, reason: str) -> None:
        """Answer what is open with `reason`."""
        left = [*self._asked.values(), *self._waiting]
        self._asked.clear()
        self._waiting.clear()
        for one in left:
            one.on_answer(Answer(None, reason, 0))

    def close(self) -> None:
        """Let the asker end."""
        if self._asker is not None:
            self._asker.close()
            self._asker = None

    def _send(self, one: _Question) -> None:
        self._number = (self._number + 1) & 0xFFFFFFFF
        request = REQUEST.pack(self._number, one.source, one.id.encode())
        try:
            if self._asker is not None:
                self._asker.send(request)
        except BlockingIOError:
            self._waiting.appendleft(one)
        except OSError:
            self._asked[self._number] = one
            self._lose()
        else:
            self._asked[self._number] = one

    def _take(self) -> bool:
        data = b""
        with suppress(BlockingIOError):
            try:
                data = self._asker.recv(ANSWER.size + MAX_BYTES) if self._asker else b""
            except ConnectionError:
                data = b""
            if len(data) < ANSWER.size:
                self._lose()
                return False
            self._settle(data)
            return True
        return False

    def _lose(self) -> None:
        self.close()
        self.give_up(_ENDED)

    def _settle(self, data: bytes) -> None:
        number, told, owner = ANSWER.unpack_from(data)
        one = self._asked.pop(number, None)
        if one is None:
            return
        if told == Told.ABSENT and one.others:
            self._turn_to_others(one)
        elif told in {Told.LATE, Told.REFUSED} and one.tries + 1 < _MAX_TRIES:
            self._waiting.append(replace(one, tries=one.tries + 1))
        elif told == Told.ALL:
            self._read(one, data[ANSWER.size :], owner)
        else:
            why = one.reason or _REASONS[Told(told)]
            one.on_answer(Answer(None, why, owner))

    def _turn_to_others(self, one: _Question) -> None:
        following = replace(one, source=one.others[0], others=one.others[1:])
        self._waiting.appendleft(following)

    # An engine that is about to remove a container, or has, may know less of it than
    # what is in its files.
    def _read(self, one: _Question, data: bytes, owner: int) -> None:
        is_socket = self._sources[one.source].kind == "socket"
        read = facts_of_answer if is_socket else facts_of_bundle
        try:
            facts = read(data)
        except FactsError as error:
            if error.may_pass and one.tries + 1 < _MAX_TRIES:
                self._waiting.append(replace(one, tries=one.tries + 1))
            elif is_socket and one.others:
                self._turn_to_others(replace(one, reason=str(error)))
            else:
                one.on_answer(Answer(None, one.reason or str(error), owner))
        else:
            one.on_answer(Answer(facts, None, owner))
