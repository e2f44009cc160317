"""`egressmon watch`: from options to an exit status."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from egressmon import host
from egressmon.errors import EvidenceError, UsageError
from egressmon.evidence.folder import FOLDER, open_in_folder
from egressmon.evidence.records import Record
from egressmon.evidence.writer import EVIDENCE_MODE, STDOUT, open_evidence
from egressmon.policy.file import LoadedPolicy, find_policy, load_policy
from egressmon.privileges import privilege
from egressmon.privileges.privilege import User, acting_as
from egressmon.probes.engine import Engine
from egressmon.probes.loaders.loading import Preparation
from egressmon.reports.outcome import Outcome
from egressmon.reports.page import Page
from egressmon.runs.plan import RunOptions
from egressmon.runs.run import Run, run_identifier
from egressmon.sensor.escalation import SudoTrial
from egressmon.text import printable, unguarded


def watch(
    options: argparse.Namespace,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command under its policy and return the exit status.

    Without a preparation this process is not root, and becomes it first.
    """
    require_command(options)
    if preparation is None:
        # Said before sudo asks for a password: the user's own mistakes first.
        _load_policy(options)
    host.egressmon_version()  # 3 ms, while the probes load
    engine = engine_for(options, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        loaded = _load_policy(options)
        if loaded.warning is not None and not options.quiet:
            sys.stderr.write(f"egressmon: policy: {printable(loaded.warning)}\n")
        page = _summary_page(user)
    outcome = execute(options, loaded, user, engine, page=page)
    _tell(outcome, options, user, page)
    return outcome.end.exit_status


def _load_policy(options: argparse.Namespace) -> LoadedPolicy:
    named = Path(options.policy) if options.policy else find_policy(Path.cwd())
    loaded = load_policy(named, options.policy_digest)
    require_another_file(options.evidence, loaded.path, "the policy")
    return loaded


def require_another_file(evidence: str | None, other: Path | None, what: str) -> None:
    """Raise UsageError where the evidence would be written over the file `other`."""
    if evidence is None or evidence == STDOUT or other is None:
        return
    # os.path's: a folder that cannot be searched is an error where it is opened.
    if os.path.exists(other) and os.path.exists(evidence):  # noqa: PTH110
        same = os.path.isfile(other) and os.path.samefile(evidence, other)  # noqa: PTH113, PTH121
    else:
        same = os.path.realpath(evidence) == os.path.realpath(other)
    if same:
        raise UsageError(
            f"the evidence would be written over {what}: {evidence}",
            "name another file with --evidence",
        )


def engine_for(
    options: argparse.Namespace,
    arguments: list[str],
    preparation: Preparation | None,
) -> Engine:
    """Return the loaded engine, as root; without a preparation, become root first.

    It is waited for here: acting_as changes the rights of all threads, of the one
    that loads the probes, too (nptl(7)).
    """
    if preparation is None:
        privilege.become_root(arguments, quiet=options.quiet)
        preparation = Preparation(options.engine, frames=options.attribution == "full")
    engine = preparation.engine()
    if engine.name == "bcc" and options.engine == "auto" and not options.quiet:
        sys.stderr.write(f"egressmon: engine bcc: {printable(engine.reason)}\n")
    return engine


def require_command(options: argparse.Namespace) -> None:
    """Raise UsageError where no command is given."""
    if not options.command:
        raise UsageError(
            "no command is given", f"egressmon {options.verb} -- COMMAND [ARGUMENT...]"
        )


def execute(  # noqa: PLR0913 -- what a run is made of
    options: argparse.Namespace,
    loaded: LoadedPolicy,
    user: User,
    engine: Engine,
    *,
    also: Callable[[Record], None] = lambda _record: None,
    at_end: Callable[[], str] | None = None,
    page: Page | None = None,
) -> Outcome:
    """Run the command of options for user; records also go to the function also.

    It returns in another process than it was called in, without rights. The one that
    has them calls `at_end` with the user's, after all else; it returns what failed, or
    "". `page` is the job's summary page, if it has one.
    """
    identifier = run_identifier()
    with acting_as(user):
        path, file, failure = _evidence(options.evidence, identifier)
    if failure is not None:
        sys.stderr.write(f"egressmon: {printable(failure)}; going on without\n")
    run_options = RunOptions(
        command=[os.fsencode(word) for word in options.command],
        loaded=loaded,
        enforce=getattr(options, "enforce", None) or loaded.policy.enforce,
        evidence_path=path,
        evidence_file=file,
        evidence_error=failure,
        user=user,
        attribution=options.attribution,
        evidence_limit=options.evidence_limit,
        argv=options.argv,
        linger_s=options.linger,
        allow_incomplete=options.allow_incomplete,
        quiet=options.quiet,
        verbose=options.verbose,
        ready_file=options.ready_file,
        page=page,
        at_end=at_end,
    )
    if run_options.may_gain:
        run_options = replace(run_options, sudo=SudoTrial(user))
    outcome = Run(run_options, identifier, also).execute(engine)
    if outcome.exec_errno:
        why = os.strerror(outcome.exec_errno)
        sys.stderr.write(f"egressmon: {printable(options.command[0])}: {why}\n")
    return outcome


def _tell(
    outcome: Outcome, options: argparse.Namespace, user: User, page: Page | None
) -> None:
    # rich takes 60 ms to import, after the run and not before it.
    from egressmon.reports import github, summary  # noqa: PLC0415

    grave = outcome.end.verdict != "clean" or outcome.evidence_failure is not None
    if (grave and not outcome.exec_errno) or not options.quiet:
        summary.print_summary(outcome)
    if _is_github(user):
        workspace = user.environment.get(b"GITHUB_WORKSPACE")
        with suppress(OSError):  # what cannot be printed changes no status
            github.print_annotations(outcome, unguarded(sys.stderr), workspace)
    if page is not None:
        page.write(github.job_summary(outcome))
        page.close()


# The file named, or a new one in a folder that version control passes over.
def _evidence(
    named: str | None, identifier: str
) -> tuple[str, IO[bytes] | None, str | None]:
    name = f"{identifier}.jsonl"
    path = named if named is not None else str(FOLDER / name)
    try:
        if named is None:
            return path, open_in_folder(name, EVIDENCE_MODE), None
        return path, open_evidence(path), None
    except EvidenceError as error:
        return path, None, str(error)


def _is_github(user: User) -> bool:
    return user.environment.get(b"GITHUB_ACTIONS") == b"true"


# In GitHub Actions, the job's summary page; None where there is none to write.
def _summary_page(user: User) -> Page | None:
    path = user.environment.get(b"GITHUB_STEP_SUMMARY")
    if path is None or not _is_github(user):
        return None
    try:
        return Page(path)
    except OSError as error:
        sys.stderr.write(f"egressmon: no summary page: {error.strerror}\n")
        return None
