"""What the machine itself reaches, if the policy has it recorded and not judged."""

from typing import TYPE_CHECKING

from egressmon.evidence.records.traffic import Origin
from egressmon.policy.judging.judge import Verdict

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

RULE = "origins.machine"
WHY = "the machine's own, which is recorded and not judged"
"""With what the reason of such a verdict begins, before that of the judge."""


def unjudged(verdict: Verdict, origin: Origin | None, policy: "AnyPolicy") -> Verdict:
    """Return `verdict`, or what it becomes for what has such an `origin`.

    What would be no violation stays what it is. What has no known origin is judged.
    """
    if origin != "machine" or policy.origins.machine == "judge":
        return verdict
    if verdict.word != "violation":
        return verdict
    return Verdict("recorded", RULE, f"{WHY}; {verdict.reason}")
