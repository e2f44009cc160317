"""What the kernel sends by itself is local, and nothing else is for its form."""

import pytest

from egressmon.attribution.processes import Processes
from egressmon.events.decode import decode
from egressmon.events.model import FLAG_OWNERLESS, FLAG_UNASKED, Flow
from egressmon.policy.judging.judge import Verdict
from egressmon.verdicts.unasked import REASON, unasked
from support.events import flow

BY_A_RULE = Verdict("violation", "deny[0]", "denied")


def sent(flags: int) -> Flow:
    decoded = decode(flow("203.0.113.9", 40000, "KIND_PACKET", flags=flags))
    assert isinstance(decoded, Flow)
    return decoded


def test_no_policy_speaks_of_what_nobody_sent() -> None:
    own = sent(FLAG_OWNERLESS | FLAG_UNASKED)

    assert unasked(own, BY_A_RULE) == Verdict("local", None, REASON)
    assert unasked(own, Verdict("allowed", "allow[0]", "covered")) is None


@pytest.mark.parametrize("flags", [0, FLAG_OWNERLESS])
def test_what_the_probes_do_not_call_so_is_judged(flags: int) -> None:
    assert unasked(sent(flags), BY_A_RULE) is None


def test_its_process_is_none_and_that_is_said() -> None:
    processes = Processes(proc_is_ours=False)

    actor, why = processes.actor(sent(FLAG_OWNERLESS | FLAG_UNASKED))
    assert (actor, why) == (
        None,
        "the kernel sent it by itself, by a socket that no process has",
    )
