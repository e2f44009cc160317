"""Decide on an audit event: judge it, write it down, and refuse it."""

import _thread
import time
from typing import NoReturn

from egressmon.guard import children, hook
from egressmon.guard.attempts import Attempt, attempt_of, host_and_port, kind_of
from egressmon.guard.callers import caller
from egressmon.guard.decisions import Decision, Word
from egressmon.guard.destinations import HostPort
from egressmon.guard.judging import Rules, rules_of
from egressmon.guard.state import PINS, STATE
from egressmon.guard.telling import log_child, log_refusal
from egressmon.guard.unusable import tell_unusable
from egressmon.guard.violation import EgressViolation
from egressmon.policy.judging.judge import Verdict

_PASSES_S = 10.0
_MAX_PASSED = 1024


def decide(event: str, arguments: tuple[object, ...]) -> None:
    """Judge `event`; raises EgressViolation if it is refused."""
    if event in hook.TRAFFIC:
        key = _key(event, arguments)
        if key is None or STATE.passed.get(key, 0.0) < time.monotonic():
            _traffic(event, arguments)
            _remember(key)
        return
    decision = children.decision_of(event, arguments, has_line=STATE.has_line)
    if decision is None:
        return
    _observe(decision)
    _write(decision)
    log_child(decision)


# What an answer rests on, if nothing but the policy and the names decides, and nobody
# is told: programs ask for the same again and again. None: judge it.
def _key(event: str, arguments: tuple[object, ...]) -> object:
    if STATE.ledger_path or STATE.narrowed or PINS.get() or STATE.is_local():
        return None
    if event == "socket.getaddrinfo":
        host = arguments[0]
        return (event, host) if type(host) is str else None
    if event != "socket.connect":
        return None
    try:
        host, port = host_and_port(arguments[1])
    except TypeError:
        return None
    if type(host) is not str:
        return None
    place = STATE.known.version, len(STATE.sources)
    return (event, *kind_of(arguments[0]), host, port, place)


def _remember(key: object) -> None:
    if key is None:
        return
    if len(STATE.passed) >= _MAX_PASSED:
        STATE.passed.clear()
    STATE.passed[key] = time.monotonic() + _PASSES_S


def _traffic(event: str, arguments: tuple[object, ...]) -> None:
    try:
        attempt = attempt_of(event, arguments)
    except EgressViolation as violation:
        kind = event.partition(".")[2]
        refuse(
            Decision(
                kind, violation.host, None, violation.port, None,
                "violation", None, violation.reason, caller(),
            )
        )  # fmt: skip
    if attempt is None:
        return
    address = None if attempt.address is None else str(attempt.address)
    names = STATE.known.of(address) if address is not None else ()
    verdict = _verdict(attempt, names)
    decision = Decision(
        attempt.kind, attempt.host, address, attempt.port, attempt.protocol,
        _word(verdict), verdict.rule, verdict.reason,
        caller() if verdict.word == "violation" or STATE.ledger_path else None,
        names,
    )  # fmt: skip
    if verdict.word == "violation":
        refuse(decision)
    if problem := _write(decision):
        raise EgressViolation(decision.host, decision.port, problem)


def _word(verdict: Verdict) -> Word:
    return "violation" if verdict.word == "recorded" else verdict.word


def refuse(decision: Decision) -> NoReturn:
    """Tell of `decision`, which is a violation, and raise EgressViolation."""
    _observe(decision)
    _write(decision)
    log_refusal(decision)
    raise EgressViolation(
        decision.names[0] if decision.names else decision.host,
        decision.port,
        decision.reason,
    )


# Returns why it could not be written, if there is a ledger at all.
def _write(decision: Decision) -> str | None:
    if STATE.ledger_path is None:
        return None
    with STATE.lock:
        if STATE.ledger is None:
            from egressmon.guard.ledger import Ledger  # noqa: PLC0415 -- json, datetime

            STATE.ledger = Ledger(STATE.ledger_path)
        ledger = STATE.ledger
    return ledger.write(decision)


def _observe(decision: Decision) -> None:
    for observer in tuple(STATE.observers):
        observer(decision)


def _verdict(attempt: Attempt, names: tuple[str, ...]) -> Verdict:
    is_local = STATE.is_local()
    verdicts = [one.judge(attempt, names, is_local=is_local) for one in all_rules()]
    for verdict in verdicts:
        if verdict.word == "violation":
            return verdict
    # A test that asked for loopback is narrowed in what else it reaches.
    wide = () if is_local and verdicts[0].word == "local" else STATE.narrowed
    for pins in (*wide, *PINS.get()):
        if not any(_is_pinned(attempt, names, pin) for pin in pins):
            listed = ", ".join(sorted(map(str, pins))) or "nothing"
            return Verdict("violation", "pinned_to", f"pinned to {listed}")
    return verdicts[0]


def _is_pinned(attempt: Attempt, names: tuple[str, ...], pin: HostPort) -> bool:
    if attempt.kind in {"lookup", "pointer"}:
        return pin.host in (attempt.host, attempt.address, *names)
    if (pin.port, pin.protocol) != (attempt.port, attempt.protocol):
        return False
    if isinstance(pin.host, str):
        return pin.host in (attempt.host, *names)
    return pin.host == attempt.address


def all_rules() -> tuple[Rules, ...]:
    """Return the rules of all policies, parsed the first time."""
    count = len(STATE.sources)
    if len(STATE.rules) < count:
        with STATE.lock:
            if STATE.loading == _thread.get_ident():
                raise EgressViolation(None, None, "the policy is still being read")
            STATE.loading = _thread.get_ident()
            try:
                _load(count)
            finally:
                STATE.loading = None
    return tuple(STATE.rules[place] for place in range(count))


def _load(count: int) -> None:
    for place in range(count):
        if place in STATE.rules:
            continue
        rules = rules_of(STATE.sources[place])
        if rules.problem:
            tell_unusable(STATE.sources[place].path, rules.problem)
        STATE.rules[place] = rules
