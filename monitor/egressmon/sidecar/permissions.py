"""Who may ask a sidecar for what.

Nobody can be kept from ending it: root can kill it. So an end counts as a conclusion
only when it is asked for with the token, which the start alone returned. Whatever else
ends the run leaves it incomplete.
"""

from egressmon.values import dataclass

ROOT = 0
RECORDED = frozenset({"stop", "reload"})
"""The verbs that change what is watched: a refusal of one is recorded."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel says."""

    pid: int
    """In the agent's pid namespace; 0 if it is not seen there."""
    uid: int
    """When it connected."""
    is_inside: bool
    """Whether the process is watched."""
    is_pinned: bool
    """Whether that process was looked at, and not a later one of its pid."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request."""

    allowed: bool
    is_conclusion: bool
    """Whether the run ends as it was meant to."""
    reason: str


def decide(
    verb: str,
    caller: Caller,
    starter_uid: int,
    *,
    token_fits: bool,
    has_token: bool = False,
) -> Decision:
    """Return whether `caller` may ask for `verb`.

    `starter_uid` is the user who started the sidecar; `has_token` says that some token
    was given. A `verb` that is unknown is
    refused.
    """
    if verb == "status":
        return _allowed("anyone may look")
    if verb == "mark":
        return _mark(caller, starter_uid)
    if verb == "stop":
        return _stop(caller, token_fits=token_fits, has_token=has_token)
    if verb == "reload":
        return _reload(caller, token_fits=token_fits, has_token=has_token)
    return _refused("there is no such verb")


# A mark is a claim, and recorded with who made it.
def _mark(caller: Caller, starter_uid: int) -> Decision:
    if caller.uid in {ROOT, starter_uid} or (caller.is_inside and caller.is_pinned):
        return _allowed("a claim of the caller's")
    return _refused(
        "only root, who started the sidecar, and what it watches may mark a phase"
    )


def _stop(caller: Caller, *, token_fits: bool, has_token: bool) -> Decision:
    if has_token and not token_fits:
        return _refused("the token is not that of this run")
    if token_fits:
        return Decision(
            allowed=True, is_conclusion=True, reason="stopped with the token"
        )
    if caller.uid == ROOT:
        return _allowed("stopped by root without the token")
    return _refused("only who has the token may stop the sidecar")


# Root in what is watched could allow itself what it is about to do.
def _reload(caller: Caller, *, token_fits: bool, has_token: bool) -> Decision:
    if has_token and not token_fits:
        return _refused("the token is not that of this run")
    if token_fits:
        return _allowed("with the token")
    if caller.uid != ROOT:
        return _refused("only root, or who has the token, may reload the policy")
    if not caller.is_pinned:
        return _refused(
            "who asked was gone before it could be told whether it is watched: use the "
            "token, or ask from a process that goes on"
        )
    if caller.is_inside:
        return _refused("what is watched may reload the policy with the token alone")
    return _allowed("by root, outside of what is watched")


def _allowed(reason: str) -> Decision:
    return Decision(allowed=True, is_conclusion=False, reason=reason)


def _refused(reason: str) -> Decision:
    return Decision(allowed=False, is_conclusion=False, reason=reason)
