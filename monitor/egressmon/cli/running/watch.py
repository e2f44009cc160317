"""`egressmon watch`: run a command under a policy, and report how it went."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from egressmon.cli.requests import RunRequest, WatchRequest
from egressmon.errors import EvidenceError, UsageError
from egressmon.evidence.anchoring import Anchor, open_anchor
from egressmon.evidence.folder import FOLDER, open_in_folder
from egressmon.evidence.records import Record
from egressmon.evidence.writer import EVIDENCE_MODE, STDOUT, open_evidence
from egressmon.naming.names import Resolver, read_resolver
from egressmon.policy.errors import PolicyError
from egressmon.policy.reading.file import (
    FILE_NAME,
    LoadedPolicy,
    find_policy,
    load_policy,
)
from egressmon.policy.reading.place import PolicyFile
from egressmon.privileges import privilege
from egressmon.privileges.privilege import User, acting_as
from egressmon.probes.engine import Engine
from egressmon.probes.loaders.loading import Preparation
from egressmon.reports.proposing.needs import Needs
from egressmon.reports.proposing.proposal import propose
from egressmon.reports.runs.interface import Report, tell_all
from egressmon.reports.runs.outcome import Outcome
from egressmon.reports.writing.explaining import safe
from egressmon.reports.writing.page import Page
from egressmon.runs import run
from egressmon.runs.plan import Enforce, RunOptions
from egressmon.runs.state import make_state
from egressmon.sensor.escalation import SudoQuery
from egressmon.values import replace


def watch(
    request: WatchRequest,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command under its policy and return the exit status.

    `preparation` loads the probes; None if this process is not root, so that it has to
    become root first.
    """
    require_command(request.run)
    if preparation is None:
        # Errors in the policy are reported before sudo asks for a password.
        _load_policy(request)
    _prepare_for_policy(request)
    engine = engine_for(request.run, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        loaded = _load_policy(request)
        if not request.run.quiet:
            for remark in loaded.remarks:
                sys.stderr.write(f"egressmon: policy: {safe(remark)}\n")
        page = _summary_page(user)
    enforce = request.enforce or loaded.policy.enforce
    needs, resolver = Needs(), read_resolver(Path("/etc/resolv.conf"))
    outcome = execute(
        request.run, loaded, enforce, user, engine, on_record=needs.add, page=page
    )
    outcome = _with_proposal(outcome, needs, loaded, resolver)
    tell_all(outcome, _reports(outcome, user, page, quiet=request.run.quiet))
    return outcome.end.exit_status


# Whatever becomes of a proposal, it must not change the exit status.
def _with_proposal(
    outcome: Outcome, needs: Needs, loaded: LoadedPolicy, resolver: Resolver
) -> Outcome:
    try:
        return replace(outcome, proposal=propose(needs, loaded, resolver))
    except Exception:  # noqa: BLE001 -- as above
        return outcome


# What reads policy files takes 60 ms to import: better while the probes load, if there
# is a file. Which one it is, and whether it may be trusted, comes later.
def _prepare_for_policy(request: WatchRequest) -> None:
    if request.policy is not None or _may_have_policy():
        from egressmon.policy.language import model  # noqa: PLC0415 -- as above

        del model  # it is loaded, which is all


def _may_have_policy() -> bool:
    with suppress(OSError):
        here = Path.cwd()
        return any((folder / FILE_NAME).exists() for folder in (here, *here.parents))
    return False


def _load_policy(request: WatchRequest) -> LoadedPolicy:
    named = nearest_policy() if request.policy is None else Path(request.policy)
    loaded = load_policy(named, request.policy_digest)
    require_another_file(request.run.evidence, loaded.path, "the policy")
    return loaded


def nearest_policy() -> PolicyFile | None:
    """Return the policy file of the working directory; raises PolicyError."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        return None  # it was removed, and nothing can be in or above it
    try:
        return find_policy(folder)
    except OSError as error:
        raise PolicyError(
            f"{folder}: no policy can be looked for: {error.strerror}",
            "name the policy with --policy",
        ) from error


def require_another_file(evidence: str | None, other: Path | None, what: str) -> None:
    """Raise UsageError if the evidence would overwrite the file `other`.

    `what` says what that file is.
    """
    if evidence is None or evidence == STDOUT or other is None:
        return
    # os.path hides errors: a folder that cannot be searched fails when it is opened.
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
    """Return the loaded engine; without a `preparation`, become root first.

    This waits until the probes are loaded: `acting_as` changes the rights of all
    threads (nptl(7)), also of the one that loads them.
    """
    if preparation is None:
        privilege.become_root(arguments, quiet=request.quiet)
        preparation = Preparation(request.engine, frames=request.attribution == "full")
    engine = preparation.engine()
    if engine.name == "bcc" and request.engine == "auto" and not request.quiet:
        sys.stderr.write(f"egressmon: engine bcc: {safe(engine.reason)}\n")
    return engine


def require_command(request: RunRequest) -> None:
    """Raise UsageError if no command is given."""
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
    on_record: Callable[[Record], None] = lambda _record: None,
    at_end: Callable[[], str] | None = None,
    page: Page | None = None,
) -> Outcome:
    """Run the command of `request` for `user`, and return how it went.

    `on_record` gets each record, too. `page` is the job's summary page, if any.

    This function returns in another process than the one that called it, without any
    rights. The process that has kept the rights calls `at_end` last of all, with the
    user's rights; it returns what failed, or "".
    """
    identifier = run.run_identifier()
    options = replace(
        _run_options(request, loaded, enforce, user, identifier),
        page=page,
        at_end=at_end,
    )
    return run.execute(make_state(options, identifier), engine, on_record)


def _run_options(
    request: RunRequest,
    loaded: LoadedPolicy,
    enforce: Enforce,
    user: User,
    identifier: str,
) -> RunOptions:
    with acting_as(user):
        path, file, failure = _evidence(request.evidence, identifier)
        anchor = _anchor(request)
    if failure is not None:
        sys.stderr.write(f"egressmon: {safe(failure)}; going on without\n")
    options = RunOptions(
        command=[os.fsencode(word) for word in request.command],
        loaded=loaded,
        enforce=enforce,
        evidence_path=path,
        evidence_file=file,
        evidence_error=failure,
        anchor=anchor,
        user=user,
        attribution=request.attribution,
        evidence_limit=request.evidence_limit,
        argv=request.argv,
        linger_s=request.linger_s,
        catch_up_s=request.catch_up_s,
        allow_incomplete=request.allow_incomplete,
        quiet=request.quiet,
        verbose=request.verbose,
        ready_file=request.ready_file,
    )
    return replace(options, sudo=SudoQuery(user)) if options.may_gain else options


# Each is imported only if there is something to tell: rich takes 30 ms.
def _reports(
    outcome: Outcome, user: User, page: Page | None, *, quiet: bool
) -> Iterator[Report]:
    if outcome.is_grave or not quiet:
        from egressmon.reports.runs import summary  # noqa: PLC0415

        yield summary.Summary(quiet=quiet)
    if not _is_github(user):
        return
    from egressmon.reports.runs import github  # noqa: PLC0415

    yield github.Annotations(user.environment.get(b"GITHUB_WORKSPACE"))
    if page is not None:
        yield github.JobSummary(page)


# The path, the open file, and why there is none. Without a name it is a new file in a
# folder that version control ignores.
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


def _anchor(request: RunRequest) -> Anchor | None:
    if request.anchor is None:
        if request.anchor_every_s is not None:
            raise UsageError("--anchor-every is of no use alone", "give --anchor, too")
        return None
    if request.evidence is not None:
        if request.anchor == request.evidence == STDOUT:
            raise UsageError(
                "evidence and anchors would both go to standard output",
                "name a file with --evidence or --anchor",
            )
        require_another_file(request.evidence, Path(request.anchor), "the anchors")
    try:
        return Anchor(open_anchor(request.anchor), request.anchor_every_s)
    except EvidenceError as error:
        sys.stderr.write(f"egressmon: {safe(error)}; going on without\n")
        return None


def _is_github(user: User) -> bool:
    return user.environment.get(b"GITHUB_ACTIONS") == b"true"


# The job's summary page in GitHub Actions; None elsewhere, or if it cannot be written.
def _summary_page(user: User) -> Page | None:
    path = user.environment.get(b"GITHUB_STEP_SUMMARY")
    if path is None or not _is_github(user):
        return None
    try:
        return Page(path)
    except OSError as error:
        sys.stderr.write(f"egressmon: no summary page: {error.strerror}\n")
        return None
