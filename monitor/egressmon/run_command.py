"""`egressmon watch` and `egressmon learn`: from options to an exit status."""

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from egressmon import privilege
from egressmon.errors import EvidenceError, UsageError
from egressmon.evidence import open_evidence
from egressmon.names import read_resolver
from egressmon.outcome import Outcome, RunOptions
from egressmon.policy.file import LoadedPolicy, find_policy, load_policy
from egressmon.privilege import User, acting_as
from egressmon.probes.engine import LibbpfEngine, Preparation
from egressmon.records import Record
from egressmon.run import Run, run_identifier
from egressmon.sanitise import sanitise_argv
from egressmon.text import printable

_FOLDER = Path(".egressmon")


def watch(
    options: argparse.Namespace,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command under its policy and return the exit status.

    Without a preparation this process is not root, and becomes it first.
    """
    _require_command(options)
    if preparation is None:
        # Said before sudo asks for a password: the user's own mistakes first.
        _load_policy(options)
    engine = _engine(options, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        loaded = _load_policy(options)
    return _execute(options, loaded, user, engine).end.exit_status


def _load_policy(options: argparse.Namespace) -> LoadedPolicy:
    path = Path(options.policy) if options.policy else find_policy(Path.cwd())
    return load_policy(path)


# The loaded engine, as root. Waited for here: acting_as changes the rights of all
# threads, of the one that loads the probes, too (nptl(7)).
def _engine(
    options: argparse.Namespace,
    arguments: list[str],
    preparation: Preparation | None,
) -> LibbpfEngine:
    if preparation is None:
        privilege.become_root(arguments, quiet=options.quiet)
    return (preparation or Preparation()).engine()


def learn(
    options: argparse.Namespace,
    arguments: list[str],
    preparation: Preparation | None,
) -> int:
    """Run the command, write the policy that it needs, and return the status."""
    from egressmon.learn import LEARNING, Lesson  # noqa: PLC0415 -- not for watch

    _require_command(options)
    output = options.output
    if output != "-" and Path(output).exists() and not options.force:
        raise UsageError(f"{output} exists", "give --force, or another --output")
    engine = _engine(options, arguments, preparation)
    user = privilege.invoking_user()
    with acting_as(user):
        target = _open_policy(output)
    lesson = Lesson()
    loaded = LoadedPolicy(LEARNING, None, None)
    with target:
        try:
            outcome = _execute(options, loaded, user, engine, lesson.add)
        except BaseException:
            if output != "-" and target.tell() == 0:
                Path(output).unlink()  # an empty policy would be in the way
            raise
        search = read_resolver(Path("/etc/resolv.conf")).search
        command = shlex.join(sanitise_argv(options.command))
        text = lesson.policy_text(command, search)
        if output != "-":
            target.truncate(0)
        target.write(text)
    if output != "-" and not options.quiet:
        sys.stderr.write(f"  learned policy, for review: {printable(output)}\n")
    return outcome.end.exit_status


def _require_command(options: argparse.Namespace) -> None:
    if not options.command:
        raise UsageError(
            "no command is given", f"egressmon {options.verb} -- COMMAND [ARGUMENT...]"
        )


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


def _execute(
    options: argparse.Namespace,
    loaded: LoadedPolicy,
    user: User,
    engine: LibbpfEngine,
    also: Callable[[Record], None] = lambda _record: None,
) -> Outcome:
    identifier = run_identifier()
    actions = user.environment.get(b"GITHUB_ACTIONS") == b"true"
    with acting_as(user):
        path, file, failure = _evidence(options.evidence, identifier)
        page = _summary_page(user) if actions else None
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
        linger_s=options.linger,
        allow_incomplete=options.allow_incomplete,
        quiet=options.quiet,
        verbose=options.verbose,
        ready_file=options.ready_file,
    )
    outcome = Run(run_options, identifier, also).execute(engine)
    _tell(outcome, options, page, actions=actions)
    return outcome


def _tell(
    outcome: Outcome,
    options: argparse.Namespace,
    page: IO[str] | None,
    *,
    actions: bool,
) -> None:
    # rich takes 60 ms to import, after the run and not before it.
    from egressmon import github, summary  # noqa: PLC0415

    if outcome.exec_errno:
        command = printable(options.command[0])
        why = os.strerror(outcome.exec_errno)
        sys.stderr.write(f"egressmon: {command}: {why}\n")
    grave = outcome.end.verdict != "clean" or outcome.evidence_failure is not None
    if grave or not options.quiet:
        summary.print_summary(outcome)
    if actions:
        github.print_annotations(outcome, sys.stderr)
    if page is not None:
        with page, contextlib.suppress(OSError):
            page.write(github.job_summary(outcome))


# The file named, or a new one in a folder that version control passes over.
def _evidence(
    named: str | None, identifier: str
) -> tuple[str, IO[bytes] | None, str | None]:
    path = named if named is not None else str(_FOLDER / f"{identifier}.jsonl")
    try:
        if named is None:
            _make_folder()
        return path, open_evidence(path), None
    except EvidenceError as error:
        return path, None, str(error)


def _make_folder() -> None:
    try:
        _FOLDER.mkdir(exist_ok=True)
        ignore = _FOLDER / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise EvidenceError(
            f"evidence cannot be written to {_FOLDER}: {error.strerror}",
            "name a writable file with --evidence",
        ) from error


def _summary_page(user: User) -> IO[str] | None:
    path = user.environment.get(b"GITHUB_STEP_SUMMARY")
    if not path:
        return None
    try:
        return open(path, "a", encoding="utf-8")  # noqa: PTH123 -- written at the end
    except OSError:
        return None
