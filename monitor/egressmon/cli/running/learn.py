"""`egressmon learn`: run a command, and write the policy that it needs."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from egressmon.cli.options.running import BESIDE
from egressmon.cli.policy.output import STDOUT, PolicyOutput
from egressmon.cli.requests import LearnRequest
from egressmon.cli.running.watch import (
    engine_for,
    execute,
    require_another_file,
    require_command,
)
from egressmon.errors import UnfinishedError, UsageError
from egressmon.evidence.records import Record
from egressmon.naming.names import read_resolver
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.privileges import privilege
from egressmon.privileges.privilege import User, acting_as
from egressmon.probes.loaders.loading import Preparation
from egressmon.reports.proposing.learned_policy import LEARNING, Lesson
from egressmon.sanitise import sanitise_argv

if TYPE_CHECKING:
    from egressmon.auditing.inventory import Inventory


def learn(
    request: LearnRequest,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command, write the policy that it needs, and return the exit status."""
    run, output = request.run, request.output
    require_command(run)
    audit = _audit_path(request)
    _require_free_outputs(request, audit)
    inventory = None if audit is None else _inventory()
    engine = engine_for(run, arguments, preparation)
    user = privilege.invoking_user()
    targets = _Targets(request, audit, user)
    lesson = Lesson()
    loaded = LoadedPolicy(LEARNING, None, None)
    try:
        outcome = execute(
            run,
            loaded,
            LEARNING.enforce,
            user,
            engine,
            on_record=_both(lesson, inventory),
            at_end=targets.finish,
        )
    except BaseException:
        targets.abandon()
        raise
    search = read_resolver(Path("/etc/resolv.conf")).search
    command = shlex.join(sanitise_argv(run.command, run.argv))
    _write(targets.policy, lesson.policy_text(command, search), output, "policy")
    if targets.audit is not None and inventory is not None:
        text = _surfaces(inventory, outcome.end.incomplete_reasons)
        _write(targets.audit, text, str(audit), "inventory")
    if not run.quiet or outcome.end.incomplete_reasons:
        from egressmon.reports.runs import summary  # noqa: PLC0415 -- slow, and not before the run

        summary.print_lesson(outcome, output, audit=audit)
    return outcome.end.exit_status


class _Targets:
    """The files that are written: opened before the run, and named after it."""

    def __init__(self, request: LearnRequest, audit: str | None, user: User) -> None:
        self._user = user
        self.audit: PolicyOutput | None = None
        force = request.force
        with acting_as(user):
            self.policy = PolicyOutput(request.output, force=force)
            if audit is None:
                return
            try:
                self.audit = PolicyOutput(
                    audit, force=force, what="inventory", option="--audit"
                )
            except BaseException:
                self.policy.abandon()
                raise

    def finish(self) -> str:
        """Give the files their names; return "", or why it could not be done."""
        failed = [one.finish() for one in (self.policy, self.audit) if one is not None]
        return "; ".join(filter(None, failed))

    def abandon(self) -> None:
        with acting_as(self._user):
            for one in (self.policy, self.audit):
                if one is not None:
                    one.abandon()


# All that it takes is imported here: the agent may be unable to read our files.
def _inventory() -> "Inventory":
    from egressmon.auditing import surfaces  # noqa: PLC0415 -- only for an inventory
    from egressmon.auditing.inventory import Inventory  # noqa: PLC0415

    del surfaces
    return Inventory()


def _surfaces(inventory: "Inventory", doubts: list[str]) -> str:
    from egressmon.auditing.surfaces import surfaces  # noqa: PLC0415 -- as above

    return "".join(f"{line}\n" for line in surfaces(inventory, doubts))


def _both(lesson: Lesson, inventory: "Inventory | None") -> Callable[[Record], None]:
    if inventory is None:
        return lesson.add

    def add(record: Record) -> None:
        lesson.add(record)
        inventory.add(record)

    return add


def _audit_path(request: LearnRequest) -> str | None:
    if request.audit != BESIDE:
        return request.audit
    if request.output == STDOUT:
        return BESIDE
    return str(Path(request.output).with_name(BESIDE))


def _require_free_outputs(request: LearnRequest, audit: str | None) -> None:
    output = request.output
    if audit is not None and os.path.realpath(audit) == os.path.realpath(output):
        raise UsageError(
            f"the policy and its inventory would both be {output}",
            "name another file with --audit",
        )
    named = ((output, "policy", "--output"), (audit, "inventory", "--audit"))
    for path, what, option in named:
        if path is None or path == STDOUT:
            continue
        require_another_file(request.run.evidence, Path(path), f"the {what}")
        if os.path.lexists(path) and not request.force:
            raise UsageError(f"{path} exists", f"give --force, or another {option}")


def _write(target: PolicyOutput, text: str, output: str, what: str) -> None:
    try:
        target.write(text)
    except OSError as error:
        raise UnfinishedError(
            f"the {what} could not be written to {output}: {error.strerror}",
            f"the evidence is whole; name another file for the {what}",
        ) from error
