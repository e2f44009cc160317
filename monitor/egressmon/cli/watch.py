"""`egressmon watch`: from options to an exit status."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from egressmon import host
from egressmon.cli.requests import RunRequest, WatchRequest
from egressmon.errors import EvidenceError, UsageError
from egressmon.evidence.folder import FOLDER, open_in_folder
from egressmon.evidence.records import Record
from egressmon.evidence.writer import EVIDENCE_MODE, STDOUT, open_evidence
from egressmon.policy.file import LoadedPolicy, find_policy, load_policy
from egressmon.privileges import privilege
from egressmon.privileges.privilege import User, acting_as
from egressmon.probes.engine import Engine
from egressmon.probes.loaders.loading import Preparation
from egressmon.reports.interface import Report, tell_all
from egressmon.reports.outcome import Outcome
from egressmon.reports.page import Page
from egressmon.runs import run
from egressmon.runs.plan import Enforce, RunOptions
from egressmon.runs.state import make_state
from egressmon.sensor.escalation import SudoQuery
from egressmon.text import printable


def watch(
    request: WatchRequest,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command under its policy and return the exit status.

    Without a preparation this process is not root, and becomes it first.
    """
    require_command(request.run)
    if preparation is None:
        # Said before sudo asks for a password: the user's own mistakes first.
        _load_policy(request)
    host.egressmon_version()  # 3 ms, while the probes load
    engine = engine_for(request.run, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        loaded = _load_policy(request)
        if loaded.warning is not None and not request.run.quiet:
            sys.stderr.write(f"egressmon: policy: {printable(loaded.warning)}\n")
        page = _summary_page(user)
    enforce = request.enforce or loaded.policy.enforce
    outcome = execute(request.run, loaded, enforce, user, engine, page=page)
    tell_all(outcome, _reports(request.run, user, page))
    return outcome.end.exit_status


def _load_policy(request: WatchRequest) -> LoadedPolicy:
    named = Path(request.policy) if request.policy else find_policy(Path.cwd())
    loaded = load_policy(named, request.policy_digest)
    require_another_file(request.run.evidence, loaded.path, "the policy")
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
    request: RunRequest,
    arguments: list[str],
    preparation: Preparation | None,
) -> Engine:
    """Return the loaded engine, as root; without a preparation, become root first.

    It is waited for here: acting_as changes the rights of all threads, of the one
    that loads the probes, too (nptl(7)).
    """
    if preparation is None:
        privilege.become_root(arguments, quiet=request.quiet)
        preparation = Preparation(request.engine, frames=request.attribution == "full")
    engine = preparation.engine()
    if engine.name == "bcc" and request.engine == "auto" and not request.quiet:
        sys.stderr.write(f"egressmon: engine bcc: {printable(engine.reason)}\n")
    return engine


def require_command(request: RunRequest) -> None:
    """Raise UsageError where no command is given."""
    if not request.command:
        raise UsageError(
            "no command is given", f"egressmon {request.verb} -- COMMAND [ARGUMENT...]"
        )


def execute(  # noqa: PLR0913 -- what a run is made of
    request: RunRequest,
    loaded: LoadedPolicy,
    enforce: Enforce,
    user: User,
    engine: Engine,
    *,
    also: Callable[[Record], None] = lambda _record: None,
    at_end: Callable[[], str] | None = None,
    page: Page | None = None,
) -> Outcome:
    """Run the command of `request` for `user`; records also go to `also`.

    It returns in another process than it was called in, without rights. The one that
    has them calls `at_end` with the user's, after all else; it returns what failed, or
    "". `page` is the job's summary page, if it has one.
    """
    identifier = run.run_identifier()
    with acting_as(user):
        path, file, failure = _evidence(request.evidence, identifier)
    if failure is not None:
        sys.stderr.write(f"egressmon: {printable(failure)}; going on without\n")
    run_options = RunOptions(
        command=[os.fsencode(word) for word in request.command],
        loaded=loaded,
        enforce=enforce,
        evidence_path=path,
        evidence_file=file,
        evidence_error=failure,
        user=user,
        attribution=request.attribution,
        evidence_limit=request.evidence_limit,
        argv=request.argv,
        linger_s=request.linger_s,
        allow_incomplete=request.allow_incomplete,
        quiet=request.quiet,
        verbose=request.verbose,
        ready_file=request.ready_file,
        page=page,
        at_end=at_end,
    )
    if run_options.may_gain:
        run_options = replace(run_options, sudo=SudoQuery(user))
    outcome = run.execute(make_state(run_options, identifier), engine, also)
    if outcome.exec_errno:
        why = os.strerror(outcome.exec_errno)
        sys.stderr.write(f"egressmon: {printable(request.command[0])}: {why}\n")
    return outcome


def _reports(request: RunRequest, user: User, page: Page | None) -> Iterator[Report]:
    # rich takes 60 ms to import, after the run and not before it.
    from egressmon.reports import github, summary  # noqa: PLC0415

    yield summary.Summary(quiet=request.quiet)
    if _is_github(user):
        yield github.Annotations(user.environment.get(b"GITHUB_WORKSPACE"))
    if page is not None:
        yield github.JobSummary(page)


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
