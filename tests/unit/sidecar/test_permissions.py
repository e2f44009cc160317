"""Who may ask for what."""

import pytest

from egressmon.sidecar.permissions import Caller, decide

ROOT, STARTER, OTHER = 0, 1000, 1001


def caller(uid: int, *, inside: bool = False, pinned: bool = True) -> Caller:
    return Caller(pid=7, uid=uid, is_inside=inside, is_pinned=pinned)


@pytest.mark.parametrize(
    ("verb", "uid", "token", "allowed"),
    [
        ("status", OTHER, False, True),
        ("mark", ROOT, False, True),
        ("mark", STARTER, False, True),
        ("mark", OTHER, False, False),
        ("mark", OTHER, True, False),
        ("stop", ROOT, False, True),
        ("stop", STARTER, False, False),
        ("stop", OTHER, False, False),
        ("stop", OTHER, True, True),
        ("reload", ROOT, False, True),
        ("reload", STARTER, False, False),
        ("reload", OTHER, True, True),
        ("status ", ROOT, True, False),
        ("", ROOT, True, False),
    ],
)
def test_who_may(verb: str, uid: int, *, token: bool, allowed: bool) -> None:
    decision = decide(verb, caller(uid), STARTER, token_fits=token)

    assert decision.allowed is allowed
    assert decision.reason


@pytest.mark.parametrize("uid", [ROOT, STARTER, OTHER])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("verb", ["status", "mark", "stop", "reload"])
def test_only_a_stop_with_the_token_is_a_conclusion(
    verb: str, uid: int, *, inside: bool
) -> None:
    for token in (False, True):
        decision = decide(verb, caller(uid, inside=inside), STARTER, token_fits=token)

        assert decision.is_conclusion is (token and verb == "stop")


def test_what_is_watched_may_mark_if_it_is_known_to_be_that_process() -> None:
    inside = caller(OTHER, inside=True)
    unknown = caller(OTHER, inside=True, pinned=False)

    assert decide("mark", inside, STARTER, token_fits=False).allowed
    assert not decide("mark", unknown, STARTER, token_fits=False).allowed


def test_root_in_what_is_watched_may_not_change_what_it_is_judged_by() -> None:
    for one in (caller(ROOT, inside=True), caller(ROOT, pinned=False)):
        assert not decide("reload", one, STARTER, token_fits=False).allowed
        assert decide("reload", one, STARTER, token_fits=True, has_token=True).allowed
    wrong = decide("reload", caller(ROOT), STARTER, token_fits=False, has_token=True)
    assert not wrong.allowed


def test_root_without_the_token_is_told_apart() -> None:
    reason = decide("stop", caller(ROOT), STARTER, token_fits=False).reason

    assert reason == "stopped by root without the token"
