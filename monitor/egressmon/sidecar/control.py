"""The control socket of a sidecar: anybody may connect, and nobody delays the run."""

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from egressmon.sidecar import tokens
from egressmon.sidecar.acts import Acts
from egressmon.sidecar.answers import line_of, refusal
from egressmon.sidecar.attempts import Attempts
from egressmon.sidecar.callers import caller_of, sender_of
from egressmon.sidecar.connections import Connection
from egressmon.sidecar.permissions import RECORDED, Caller, Decision, decide
from egressmon.sidecar.rates import UserRates
from egressmon.sidecar.reception import Reception
from egressmon.sidecar.requests import (
    Request,
    RequestError,
    read_request,
    why_no_phase,
)

MAX_WAITING = 16
MAX_MARKS = 10_000
"""Each phase is kept to the end of the run."""
_ANSWER_S = 1.0
_LAST_ANSWER_S = 2.0
_AGAIN_S = 0.05
_MARKS_EACH_S, _MARKS_BURST = 10, 100


class ControlServer:
    """The agent's end of the control socket.

    Its owner polls `descriptors` for reading, for `due_in_s` at most, and then calls
    `attend`. At most 16 connections are served and 16 wait for the end; a request has
    1 s and 4 KiB. When there are more, whoever has most of them loses the slowest.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- what it joins
        self,
        listener: socket.socket,
        token_digest: bytes,
        starter_uid: int,
        is_inside: Callable[[int], bool],
        acts: Acts,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`token_digest` is `tokens.digest_of` the token; `now` is a monotonic clock.

        `is_inside` tells whether a pid is watched.
        """
        self._reception = Reception(listener, now)
        self._digest = token_digest
        self._starter_uid = starter_uid
        self._is_inside = is_inside
        self._acts = acts
        self._now = now
        self._waiting: list[tuple[Connection, bool]] = []
        self._asked_to_stop: set[bool] = set()
        self._end: dict[str, Any] | None = None
        self._attempts = Attempts(acts.attempt)
        self._marking = UserRates(_MARKS_EACH_S, _MARKS_BURST)
        self._marks = 0
        self._failure: Exception | None = None
        self._is_listening = True
        """Whether `descriptors` had the listening socket last."""
        self._is_open = True

    def descriptors(self) -> set[int]:
        """Return what to poll for reading now."""
        if not self._is_open:
            return set()
        served = self._reception.served
        found = {one.fileno() for one in served if one.is_reading}
        self._is_listening = self._reception.wait_s() <= 0
        if self._is_listening:
            found.add(self._reception.fileno())
        return found

    def due_in_s(self) -> float | None:
        """Return when `attend` has to be called even if nothing is readable.

        In seconds from now; None: it need not. It goes with what `descriptors` returned
        last.
        """
        if not self._is_open:
            return None
        now, served = self._now(), self._reception.served
        dues = [one.deadline - now for one in served]
        dues += [_AGAIN_S for one in served if not one.is_reading]
        # It may accept by now, but then its owner does not poll for it yet.
        if not self._is_listening:
            dues.append(self._reception.wait_s())
        if (due := self._attempts.due()) is not None:
            dues.append(due - now)
        return max(0.0, min(dues)) if dues else None

    def attend(self) -> None:
        """Do what can be done without waiting; the work of one call is bounded.

        Raises what an act raised, after everything else was done.
        """
        if not self._is_open:
            return
        for one in [*self._reception.served]:
            self._attend_to(one)
        for one in self._reception.accept():
            self._attend_to(one)
        self._isolated(lambda: self._attempts.tell_due(self._now()))
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def answer_stop(self, answer: dict[str, Any]) -> None:
        """Answer those who wait for the end, and wait 2 s at most until they took it.

        `concluded` becomes False for who did not have the token. Who asks for a stop
        from now on gets the same answer.
        """
        self._end = answer
        waiting, self._waiting = self._waiting, []
        deadline = time.monotonic() + _LAST_ANSWER_S
        left = [
            one
            for one, has_token in waiting
            if not one.answer(self._last_line(has_token=has_token), deadline)
        ]
        while left and (rest := deadline - time.monotonic()) > 0:
            poll = select.poll()
            for one in left:
                poll.register(one, select.POLLOUT)
            poll.poll(rest * 1000)
            left = [one for one in left if not one.go_on()]
        for one, _ in waiting:
            one.close()

    def ask_by_signal(self, verb: str, pid: int, uid: int) -> None:
        """Do `verb` if `pid` of `uid` may have it without a token.

        It is what a signal asks for, as the kernel says; nobody is answered. Raises
        what the act raised.
        """
        caller = sender_of(pid, uid, self._is_inside)
        decision = decide(verb, caller, self._starter_uid, token_fits=False)
        if not decision.allowed:
            self._attempts.note(verb, caller, decision.reason, self._now())
        elif verb == "reload":
            self._acts.reload(caller, decision.reason)

    def tell_attempts(self) -> None:
        """Tell the attempts that were not told yet, while they still can be recorded.

        Raises what telling them raised.
        """
        self._attempts.tell_all()

    def sever(self) -> None:
        """Close all, after telling the attempts that were not told yet.

        Raises what telling them raised, at the end.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._reception.close()
        for one, _ in self._waiting:
            one.close()
        self._waiting = []
        self._attempts.tell_all()

    def _attend_to(self, one: Connection) -> None:
        if not one.is_reading:
            if one.go_on() or self._now() >= one.deadline:
                self._reception.drop(one)
            return
        try:
            line = one.request()
            if line is not None:
                self._perform(one, read_request(line))
            elif self._now() >= one.deadline:
                raise RequestError("no whole request came within 1 s")  # noqa: TRY301
        except RequestError as error:
            self._answer(one, refusal(str(error)))

    def _perform(self, one: Connection, request: Request) -> None:
        try:
            caller = caller_of(one.socket, self._is_inside)
            fits = tokens.fits(request.token, self._digest)
            decision = decide(
                request.verb,
                caller,
                self._starter_uid,
                token_fits=fits,
                has_token=request.token is not None,
            )
            answer = self._answered(one, request, caller, decision)
        except Exception as error:  # noqa: BLE001 -- the others are to be served
            self._failure = self._failure or error
            answer = refusal("a step of the sidecar failed")
        if answer is not None:
            self._answer(one, answer)

    # None: it is answered later.
    def _answered(
        self, one: Connection, request: Request, caller: Caller, decision: Decision
    ) -> bytes | None:
        if not decision.allowed:
            if request.verb in RECORDED:
                reason = decision.reason
                self._attempts.note(request.verb, caller, reason, self._now())
            return refusal(decision.reason)
        if request.verb == "status":
            return line_of({"ok": True, **self._acts.status()})
        if request.verb == "mark":
            return self._marked(request.phase, caller)
        if request.verb == "reload":
            why = self._acts.reload(caller, decision.reason)
            if why:
                return refusal(why)
            return line_of({"ok": True, "policies": self._acts.policies()})
        return self._stopped(one, caller, decision)

    def _marked(self, phase: str | None, caller: Caller) -> bytes:
        why = why_no_phase(phase)
        if not why and not self._marking.take(caller.uid, self._now()):
            why = "too many marks: at most 10 a second"
        if not why and self._marks >= MAX_MARKS:
            why = f"too many marks: at most {MAX_MARKS} in a run"
        if why or phase is None:
            return refusal(why)
        self._marks += 1
        told = self._acts.mark(phase, caller)
        return line_of({"ok": True, "phase": phase, **told})

    def _stopped(
        self, one: Connection, caller: Caller, decision: Decision
    ) -> bytes | None:
        has_token = decision.is_conclusion
        if self._end is not None:
            return self._last_line(has_token=has_token)
        if has_token not in self._asked_to_stop:
            self._acts.stop(caller, is_concluded=has_token, reason=decision.reason)
            self._asked_to_stop.add(has_token)
        if not self._has_room(has_token=has_token):
            return refusal("too many wait for the end already", is_busy=True)
        self._reception.let_go(one)
        self._waiting.append((one, has_token))
        if self._end is not None:  # it has ended at once
            self.answer_stop(self._end)
        return None

    # Root cannot keep out who has the token.
    def _has_room(self, *, has_token: bool) -> bool:
        if len(self._waiting) < MAX_WAITING:
            return True
        others = [pair for pair in self._waiting if not pair[1]]
        if not has_token or not others:
            return False
        self._waiting.remove(others[0])
        others[0][0].close()
        return True

    def _last_line(self, *, has_token: bool) -> bytes:
        answer = {"ok": True, **(self._end or {})}
        answer["concluded"] = bool(answer.get("concluded")) and has_token
        return line_of(answer)

    def _answer(self, one: Connection, data: bytes) -> None:
        if one.answer(data, self._now() + _ANSWER_S):
            self._reception.drop(one)

    def _isolated(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 -- told at the end of `attend`
            self._failure = self._failure or error
