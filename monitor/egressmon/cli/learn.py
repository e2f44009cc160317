"""`egressmon learn`: run a command, and write the policy that it needs."""

import os
import shlex
from pathlib import Path

from egressmon.cli.policy_output import STDOUT, PolicyOutput
from egressmon.cli.requests import LearnRequest
from egressmon.cli.watch import (
    engine_for,
    execute,
    require_another_file,
    require_command,
)
from egressmon.errors import UnfinishedError, UsageError
from egressmon.naming.names import read_resolver
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.privileges import privilege
from egressmon.privileges.privilege import acting_as
from egressmon.probes.loaders.loading import Preparation
from egressmon.reports.learned_policy import LEARNING, Lesson
from egressmon.sanitise import sanitise_argv


def learn(
    request: LearnRequest,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command, write the policy that it needs, and return the exit status."""
    run, output = request.run, request.output
    require_command(run)
    _require_free_output(request)
    engine = engine_for(run, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        target = PolicyOutput(output, force=request.force)
    lesson = Lesson()
    loaded = LoadedPolicy(LEARNING, None, None)
    try:
        outcome = execute(
            run,
            loaded,
            LEARNING.enforce,
            user,
            engine,
            on_record=lesson.add,
            at_end=target.finish,
        )
    except BaseException:
        with acting_as(user):
            target.abandon()
        raise
    search = read_resolver(Path("/etc/resolv.conf")).search
    command = shlex.join(sanitise_argv(run.command, run.argv))
    _write(target, lesson.policy_text(command, search), output)
    if not run.quiet or outcome.end.incomplete_reasons:
        from egressmon.reports import summary  # noqa: PLC0415 -- slow, and not before the run

        summary.print_lesson(outcome, output)
    return outcome.end.exit_status


def _require_free_output(request: LearnRequest) -> None:
    output = request.output
    if output == STDOUT:
        return
    require_another_file(request.run.evidence, Path(output), "the policy")
    if os.path.lexists(output) and not request.force:
        raise UsageError(f"{output} exists", "give --force, or another --output")


def _write(target: PolicyOutput, text: str, output: str) -> None:
    try:
        target.write(text)
    except OSError as error:
        raise UnfinishedError(
            f"the policy could not be written to {output}: {error.strerror}",
            "the evidence is whole; name another file with --output",
        ) from error
