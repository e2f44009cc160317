"""`egressmon sidecar`: watch a cgroup, or the whole machine, until stopped."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from egressmon.cli.requests import SidecarRequest
from egressmon.cli.running.watch import nearest_policy
from egressmon.cli.sidecar.kept import Left, find_left
from egressmon.cli.sidecar.prepared import Prepared, prepare
from egressmon.cli.sidecar.scope import require_process, scope_words
from egressmon.errors import UsageError
from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.policy.reading.place import READ
from egressmon.privileges import privilege
from egressmon.privileges.confinement import with_rights_of
from egressmon.privileges.privilege import User, acting_as
from egressmon.reports.runs.interface import tell_all
from egressmon.reports.runs.outcome import Outcome
from egressmon.runs import run
from egressmon.runs.lasting.standing import WAITING
from egressmon.runs.plan import RunOptions, Standing
from egressmon.runs.state import make_state
from egressmon.sidecar import detaching, tokens
from egressmon.sidecar.listening import Place
from egressmon.sidecar.notifying import Notifier, notifier_of
from egressmon.startup import descriptors, environment
from egressmon.text import printable

_PATH = b"PATH=/usr/sbin:/usr/bin:/sbin:/bin"


def sidecar(request: SidecarRequest, arguments: list[str]) -> int:
    """Watch what `request` names until it is stopped, and return the exit status."""
    if request.detach and not request.as_json and request.token_file is None:
        raise UsageError(
            "nobody could conclude the run: its token would go nowhere",
            "give --json (it is printed), or --token-file FILE",
        )
    if request.pid is not None:
        require_process(request.pid)
    privilege.become_root(arguments, quiet=request.quiet)
    user = _starter(request)
    with acting_as(user):
        loaded = _load_policy(request)
    if request.detach:
        return detaching.detach(_detached(request, loaded, user))
    if request.told is None:
        for remark in loaded.remarks:
            sys.stderr.write(f"egressmon: policy: {printable(remark)}\n")
    # Nobody is handed what the caller left open, but for what tells it of the start.
    told = os.dup(request.told) if request.told is not None else None
    notifier = _notifier()
    left = find_left(notifier, request.keep_probes)
    descriptors.hand_down()
    request = request._replace(told=told)
    place = Place(request.runtime)
    try:
        return _run(request, loaded, user, _Around(place, notifier, left))
    except BaseException:
        place.release()
        raise


class _Around(NamedTuple):
    """What the sidecar has to do with."""

    place: Place
    notifier: Notifier | None
    left: Left


class _Asker(NamedTuple):
    """Who started the sidecar, and with whose rights the policy is read again."""

    uid: int
    token_digest: bytes
    open_policy: Callable[[], int] | None


def _run(
    request: SidecarRequest, loaded: LoadedPolicy, user: User, around: _Around
) -> int:
    identifier = run.run_identifier()
    prepared, engine = prepare(request, user, around.left, identifier)
    digest = _digest(request, user)
    if request.told is not None:
        os.chdir("/")  # it must not hold the caller's folder
    asker = _Asker(user.uid, digest, _opener(loaded, user))
    standing = _standing(request, prepared, around, asker)
    options = _options(request, loaded, user, prepared.folder.path, standing)
    try:
        outcome = run.execute(make_state(options, identifier), engine, lambda _: None)
    except BaseException:
        prepared.run_folder.forget_run()  # the agent may not; then the keeper does it
        raise
    _report(outcome, request)
    return outcome.end.exit_status


def _standing(
    request: SidecarRequest, prepared: Prepared, around: _Around, asker: _Asker
) -> Standing:
    kept = prepared.kept
    return Standing(
        watched=Path(request.cgroup) if request.cgroup is not None else None,
        words=_words(request),
        place=around.place,
        token_digest=asker.token_digest,
        starter=asker.uid,
        open_policy=asker.open_policy,
        lineage=prepared.lineage,
        job=prepared.job,
        segments=prepared.segments,
        folder=prepared.run_folder,
        before=prepared.before,
        notifier=around.notifier,
        kept=kept,
        not_kept=kept.why_not if kept is not None else "",
        told=request.told,
        heartbeat_s=request.heartbeat,
        canaries_s=request.canaries,
        wanted=tuple(request.containers),
        engine_sockets=dict(request.engine_sockets),
    )


def _options(
    request: SidecarRequest,
    loaded: LoadedPolicy,
    user: User,
    folder: str,
    standing: Standing,
) -> RunOptions:
    return RunOptions(
        command=[os.fsencode(word) for word in WAITING],
        loaded=loaded,
        enforce=request.enforce or loaded.policy.enforce,
        evidence_path=folder,
        evidence_file=None,
        evidence_error=None,
        # Root may make files of the starter's group only with that among its own.
        user=User.of_block((0, 0, (user.gid,)), (_PATH,)),
        attribution=request.attribution,
        evidence_limit=request.evidence_limit,
        argv=request.argv,
        linger_s=0,
        quiet=True,
        verbose=request.verbose,
        standing=standing,
    )


# Of root's own environment: whom a user names is not told by the keeper.
def _notifier() -> Notifier | None:
    if privilege.invoking_user().uid:
        return None
    block = environment.original()
    return notifier_of(environment.variables(block), os.getpid())


# What is asked for later is where it was at first, and opened as who started this. For
# the keeper, whose groups are that user's.
def _opener(loaded: LoadedPolicy, user: User) -> Callable[[], int] | None:
    if loaded.path is None:
        return None
    path = loaded.path.absolute()

    def opened() -> int:
        with with_rights_of(user):
            return os.open(path, READ)

    return opened


# What the evidence names as its command: no secret is in it.
def _words(request: SidecarRequest) -> list[str]:
    return ["egressmon", "sidecar", *scope_words(request)]


def _report(outcome: Outcome, request: SidecarRequest) -> None:
    if request.told is not None:
        return  # nobody reads it: who asks for the end is told
    from egressmon.reports.runs import summary  # noqa: PLC0415 -- rich takes 30 ms

    tell_all(outcome, [summary.Summary(quiet=False)])


def _starter(request: SidecarRequest) -> User:
    if request.starter is None:
        return privilege.invoking_user()
    uid, gid = request.starter
    return User.of_block((uid, gid, ()), (_PATH,))


def _load_policy(request: SidecarRequest) -> LoadedPolicy:
    if request.policy is not None:
        return load_policy(Path(request.policy), request.policy_digest)
    named = nearest_policy() if request.told is None else None
    return load_policy(named, request.policy_digest)


# Who started it has the token. Here is its digest alone; the token never was.
def _digest(request: SidecarRequest, user: User) -> bytes:
    if request.token_digest is not None:
        return request.token_digest
    if request.token_file is None:
        return b""
    return detaching.apart(lambda: _make_token(request.token_file or "", user))


def _make_token(path: str, user: User) -> bytes:
    token = tokens.make_token()
    with acting_as(user):
        tokens.write_token(path, token)
    return tokens.digest_of(token)


def _detached(
    request: SidecarRequest, loaded: LoadedPolicy, user: User
) -> detaching.Order:
    runtime = os.path.abspath(request.runtime)  # noqa: PTH100 -- text
    words = ["--starter", f"{user.uid}:{user.gid}", "--runtime", runtime]
    words += scope_words(request)
    if loaded.path is not None and loaded.digest is not None:
        policy = str(loaded.path.absolute())
        words += ["--policy", policy, "--policy-digest", loaded.digest]
    for name, value in (
        ("enforce", request.enforce),
        ("evidence", request.evidence and os.path.abspath(request.evidence)),  # noqa: PTH100 -- text
        ("attribution", request.attribution),
        ("argv", request.argv),
        ("evidence-limit", f"{request.evidence_limit // 1000}kB"),
        ("segment-size", f"{request.segment_size // 1000}kB"),
        ("segment-age", f"{request.segment_age:.3f}s"),
        ("heartbeat", f"{request.heartbeat:g}s"),
        ("canaries", f"{request.canaries:g}s"),
    ):
        if value is not None:
            words += [f"--{name}", str(value)]
    if request.keep_probes is not None:
        words += ["--keep-probes", os.path.abspath(request.keep_probes)]  # noqa: PTH100 -- text
    words += ["--verbose"] if request.verbose else []
    for engine, path in request.engine_sockets:
        words += ["--engine-socket", f"{engine}={path}"]
    return detaching.Order(words, user, request.token_file, request.as_json)
