"""`egressmon learn`: a run, and the policy that it needs."""

import argparse
import contextlib
import os
import shlex
from pathlib import Path
from typing import IO

from egressmon import privilege
from egressmon.errors import UsageError
from egressmon.learn import LEARNING, Lesson
from egressmon.names import read_resolver
from egressmon.policy.file import LoadedPolicy
from egressmon.privilege import acting_as
from egressmon.probes.loading import Preparation
from egressmon.run_command import engine_for, execute, require_command
from egressmon.sanitise import sanitise_argv


def learn(
    options: argparse.Namespace,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command, write the policy that it needs, and return the status."""
    require_command(options)
    output = options.output
    if output != "-" and Path(output).exists() and not options.force:
        raise UsageError(f"{output} exists", "give --force, or another --output")
    engine = engine_for(options, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        target = _open_policy(output)
    lesson = Lesson()
    loaded = LoadedPolicy(LEARNING, None, None)
    with target:
        try:
            outcome = execute(
                options, loaded, user, engine, also=lesson.add,
                at_end=lambda: _remove_empty(target, output),
            )  # fmt: skip
        except BaseException:
            with acting_as(user):
                _remove_empty(target, output)
            raise
        search = read_resolver(Path("/etc/resolv.conf")).search
        command = shlex.join(sanitise_argv(options.command, options.argv))
        text = lesson.policy_text(command, search)
        if output != "-":
            target.truncate(0)
        target.write(text)
    if not options.quiet or outcome.end.incomplete_reasons:
        from egressmon import summary  # noqa: PLC0415 -- slow, and not before the run

        summary.print_lesson(outcome, output)
    return outcome.end.exit_status


# An empty policy would be in the way. With the user's rights alone: by its path, the
# user can have put anything there.
def _remove_empty(target: IO[str], output: str) -> None:
    if output == "-":
        return
    with contextlib.suppress(OSError):
        ours, there = os.fstat(target.fileno()), os.lstat(output)
        if os.path.samestat(ours, there) and not there.st_size:
            Path(output).unlink()


def _open_policy(output: str) -> IO[str]:
    if output == "-":
        return os.fdopen(os.dup(1), "w", encoding="utf-8")
    try:
        # What is there already stays until there is something to put in its place.
        return open(output, "a", encoding="utf-8")  # noqa: PTH123 -- the caller closes
    except OSError as error:
        raise UsageError(
            f"the policy cannot be written to {output}: {error.strerror}",
            "name a writable file with --output",
        ) from error
