"""What goes nowhere is no violation: only without a packet, and to nobody's address."""

import pytest

from egressmon.events.decode import decode
from egressmon.events.model import FLAG_UNSENT, Flow
from egressmon.policy.judging.judge import Verdict
from egressmon.verdicts.unsent import REASON, unsent
from support.events import flow

NOT_COVERED = Verdict("violation", None, "no allow entry covers it")


def given_up(ip: str, flags: int = FLAG_UNSENT) -> Flow:
    decoded = decode(flow(ip, 443, flags=flags))
    assert isinstance(decoded, Flow)
    return decoded


@pytest.mark.parametrize(
    "ip", ["192.0.2.9", "198.51.100.1", "203.0.113.5", "2001:db8::1"]
)
def test_nothing_left_for_an_address_that_nobody_has(ip: str) -> None:
    assert unsent(given_up(ip), NOT_COVERED) == Verdict("local", None, REASON)


@pytest.mark.parametrize(
    ("ip", "flags"),
    [("192.0.2.9", 0), ("192.0.3.9", FLAG_UNSENT), ("2001:db9::1", FLAG_UNSENT)],
)
def test_what_left_or_may_reach_somebody_is_judged(ip: str, flags: int) -> None:
    assert unsent(given_up(ip, flags), NOT_COVERED) is None


@pytest.mark.parametrize(
    "judged",
    [
        Verdict("violation", "deny[0]", "denied"),
        Verdict("allowed", "allow[0]", "covered"),
        Verdict("local", None, "a listener inside the scope"),
    ],
)
def test_what_a_rule_says_stands(judged: Verdict) -> None:
    assert unsent(given_up("192.0.2.9"), judged) is None
