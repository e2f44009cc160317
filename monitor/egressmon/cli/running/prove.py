"""`egressmon prove`: several runs of a scenario, and what they say together."""

import os
import sys
import time
from pathlib import Path

from egressmon.cli.requests import ProveRequest
from egressmon.cli.running.watch import nearest_policy
from egressmon.errors import PrivilegeError, UsageError
from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.privileges import privilege
from egressmon.privileges.privilege import User, acting_as
from egressmon.proofs.conductor import Assignment, conduct
from egressmon.proofs.plans.file import LoadedPlan, load_plan, plan_of_command
from egressmon.proofs.playing.surroundings import require_sendable
from egressmon.proofs.starting import channel
from egressmon.proofs.starting.one_run import RunSettings
from egressmon.proofs.starting.starter import supervise
from egressmon.sanitise.redaction import scan_text
from egressmon.text import printable

_USAGE = "egressmon prove PLAN.toml, or egressmon prove --runs 3 -- COMMAND"


def prove(request: ProveRequest, arguments: list[str]) -> int:
    """Make the proof that is asked for, and return the exit status."""
    if os.geteuid() != 0 or request.check:
        # Errors in the plan are reported before sudo asks for a password.
        loaded = _load_plan(request)
        policy = _load_policy(request, loaded)
        if request.check:
            require_sendable(loaded.plan, dict(os.environ))
            return _tell(loaded, policy)
        privilege.become_root(arguments, quiet=request.quiet)
    user = privilege.invoking_user()
    with acting_as(user):
        _require_launcher()
        loaded = _load_plan(request)
        policy = _load_policy(request, loaded)
    for remark in () if request.quiet else policy.remarks:
        sys.stderr.write(f"egressmon: policy: {printable(remark)}\n")
    assignment = Assignment(
        loaded,
        policy,
        request.output or f"proof-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}",
        {os.fsdecode(k): os.fsdecode(v) for k, v in user.environment.items()},
        request.quiet,
        request.sign_key,
        request.anchor,
    )
    settings = _settings(request, policy, user)
    return supervise(
        settings, user, assignment.output, lambda starter: conduct(assignment, starter)
    )


# In the scope, the user executes it, and it imports the other.
def _require_launcher() -> None:
    needed = Path(channel.__file__)
    for path in (needed.parents[1] / "launcher.py", needed):
        try:
            path.open("rb").close()
        except OSError as error:
            raise PrivilegeError(
                f"the command's user cannot read egressmon's own files: {path}",
                "install it where everybody may read it: `egressmon install` does",
            ) from error


def _load_plan(request: ProveRequest) -> LoadedPlan:
    if request.plan is not None and request.command:
        raise UsageError("a plan and a command are given", _USAGE)
    runs = [] if request.runs is None else [f"runs={request.runs}"]
    changes = [*runs, *request.overrides]
    if request.plan is not None:
        return load_plan(request.plan, changes)
    if not request.command:
        raise UsageError("neither a plan nor a command is given", _USAGE)
    return plan_of_command(request.command, changes)


def _load_policy(request: ProveRequest, loaded: LoadedPlan) -> LoadedPolicy:
    named = request.policy
    if named is None and loaded.plan.policy is not None:
        named = str(loaded.folder / loaded.plan.policy)
    source = nearest_policy() if named is None else Path(named)
    policy = load_policy(source, request.policy_digest)
    for finding in scan_text(policy.text):
        raise UsageError(
            f"{policy.path}:{finding.line}: a secret ({finding.kind}), and the policy "
            "is a part of the proof",
            "take it out of the file",
        )
    return policy


def _tell(loaded: LoadedPlan, policy: LoadedPolicy) -> int:
    plan = loaded.plan
    sys.stdout.write(
        f"{printable(loaded.title)}: fine; {plan.runs} runs of {len(plan.phase)} "
        f"phases, {len(plan.process)} processes, {len(plan.probe)} probes\n"
        f"{printable(loaded.title)}: {loaded.digest}\n"
        f"policy: {printable(policy.path or 'none')}\n"
    )
    return 0


def _settings(request: ProveRequest, policy: LoadedPolicy, user: User) -> RunSettings:
    return RunSettings(
        policy,
        user,
        request.engine,
        request.attribution,
        request.argv,
        request.evidence_limit,
        request.catch_up_s,
        request.verbose,
    )
