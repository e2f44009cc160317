"""The table of verbs: the options that each one takes, and the function that runs it.

A verb imports the rest only when it is called, so that `watch` starts fast.
"""

import argparse
import os
from collections.abc import Callable
from typing import NamedTuple

from egressmon.cli import cassette_options, options, verify_options
from egressmon.cli.requests import (
    ExplainRequest,
    LearnRequest,
    ProveRequest,
    RefreshRequest,
    RunRequest,
    ScanRequest,
    SidecarRequest,
    StopRequest,
    VerifyRequest,
    WatchRequest,
)
from egressmon.probes.loaders.loading import Preparation
from egressmon.startup.stored_types import stored

SIDECAR_WORDS = ("status", "mark", "stop", "reload", "install-service")
"""The words after `sidecar` with which nothing is watched."""


class Call(NamedTuple):
    """A command line as it was given."""

    arguments: list[str]
    early: Preparation | None
    """Loads the probes since before the arguments were read."""


class Verb(NamedTuple):
    """One verb; `run` returns the exit status."""

    add: Callable[[options.Add, str], None]
    run: Callable[[argparse.Namespace, Call], int]
    runs_command: bool = False
    """Whether egressmon's own failures get the exit status of a run (125), not 2."""
    words: tuple[str, ...] = ()
    """The words after the verb with which it runs none all the same."""

    def watches(self, arguments: list[str]) -> bool:
        """Tell whether the command line `arguments`, with this verb, begins a run."""
        return self.runs_command and not set(arguments[1:]).intersection(self.words)


def _watch(parsed: argparse.Namespace, call: Call) -> int:
    request = WatchRequest(
        RunRequest.of(parsed), parsed.policy, parsed.policy_digest, parsed.enforce
    )
    preparation = _preparation(request.run, call.early)
    from egressmon.cli.watch import watch  # noqa: PLC0415

    return watch(request, call.arguments, preparation)


def _learn(parsed: argparse.Namespace, call: Call) -> int:
    request = LearnRequest(RunRequest.of(parsed), parsed.output, parsed.force)
    preparation = _preparation(request.run, call.early)
    from egressmon.cli.learn import learn  # noqa: PLC0415

    return learn(request, call.arguments, preparation)


def _prove(parsed: argparse.Namespace, call: Call) -> int:
    from egressmon.cli.prove import prove  # noqa: PLC0415

    return prove(ProveRequest.of(parsed), call.arguments)


# The probes load in a thread, mostly in C, while Python imports the rest. If they were
# loaded early for other options, they are of no use.
def _preparation(request: RunRequest, early: Preparation | None) -> Preparation | None:
    if os.geteuid() != 0:
        return None
    frames = request.attribution == "full"
    if early is not None and early.asked == (request.engine, frames):
        return early
    if early is not None:
        early.engine().close()
    return Preparation(request.engine, frames=frames, stored=stored)


def _policy(parsed: argparse.Namespace, _: Call) -> int:
    if parsed.policy_verb in {"nftables", "pf"}:
        from egressmon.cli import filters  # noqa: PLC0415

        render = filters.pf if parsed.policy_verb == "pf" else filters.nftables
        return render(filters.FilterRequest.of(parsed))
    from egressmon.cli import policy  # noqa: PLC0415

    if parsed.policy_verb == "check":
        return policy.check(
            parsed.file, strict=parsed.strict, digest=parsed.policy_digest
        )
    return policy.explain(
        ExplainRequest(
            file=parsed.file,
            destination=parsed.destination,
            package=parsed.package,
            exe=parsed.exe,
            module=parsed.module,
            route=parsed.route,
            bypass=parsed.bypass,
            claimed=parsed.claimed,
        )
    )


def _report(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli.report import report  # noqa: PLC0415

    return report(parsed.evidence, parsed.format)


def _verify(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli import verify  # noqa: PLC0415

    return verify.command(
        VerifyRequest(
            paths=parsed.path,
            policies=parsed.policy,
            anchor=parsed.anchor,
            allowed_signers=parsed.allowed_signers,
            subject=parsed.sigstore_identity,
            issuer=parsed.sigstore_issuer,
            format=parsed.format,
        )
    )


def _scan(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli.scan import scan  # noqa: PLC0415

    return scan(ScanRequest(parsed.paths, parsed.form, parsed.allow))


def _reconcile(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli.reconcile import reconcile  # noqa: PLC0415

    return reconcile(parsed.evidence, parsed.ledger, as_json=parsed.format == "json")


def _inspect(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli import inspect  # noqa: PLC0415

    return inspect.inspect_native(
        inspect.InspectRequest(
            paths=parsed.paths,
            python=parsed.python,
            policy=parsed.policy,
            form=parsed.form,
            roots=parsed.roots,
        )
    )


def _cassettes(parsed: argparse.Namespace, _: Call) -> int:
    if parsed.cassettes_verb == "refresh":
        from egressmon.cli.refresh import refresh  # noqa: PLC0415

        return refresh(
            RefreshRequest(parsed.spend, parsed.directories or [], parsed.command)
        )
    from egressmon.cli import cassettes  # noqa: PLC0415

    if parsed.cassettes_verb == "lock":
        return cassettes.lock(parsed.directories)
    if parsed.cassettes_verb == "verify":
        return cassettes.verify(parsed.directories)
    return cassettes.compare(parsed.old, parsed.new, parsed.form)


def _add_inspect(add: options.Add, name: str) -> None:
    from egressmon.cli import inspect_options  # noqa: PLC0415

    inspect_options.add_inspect(add, name)


def _add_sidecar(add: options.Add, name: str) -> None:
    from egressmon.cli import sidecar_options  # noqa: PLC0415

    sidecar_options.add_sidecar(add, name)


def _sidecar(parsed: argparse.Namespace, call: Call) -> int:
    if parsed.sidecar_verb is None:
        from egressmon.cli.sidecar import sidecar  # noqa: PLC0415

        return sidecar(SidecarRequest.of(parsed), call.arguments)
    from egressmon.cli import sidecar_options  # noqa: PLC0415

    if parsed.sidecar_verb == sidecar_options.INSTALL_SERVICE:
        from egressmon.cli import install_service  # noqa: PLC0415

        return install_service.install_service(
            install_service.InstallServiceRequest.of(parsed)
        )
    sidecar_options.require_asking(parsed)
    from egressmon.cli import sidecar_client  # noqa: PLC0415

    if parsed.sidecar_verb == "status":
        return sidecar_client.status(parsed.runtime, as_json=parsed.json)
    if parsed.sidecar_verb == "mark":
        return sidecar_client.mark(parsed.runtime, parsed.phase)
    if parsed.sidecar_verb == "reload":
        return sidecar_client.reload(
            parsed.runtime, parsed.token_file, stdin=parsed.token_stdin
        )
    return sidecar_client.stop(
        StopRequest(
            runtime=parsed.runtime,
            token_file=parsed.token_file,
            token_stdin=parsed.token_stdin,
            report=parsed.report,
            as_json=parsed.json,
        )
    )


def _add_guard(add: options.Add, name: str) -> None:
    from egressmon.cli import guard_options  # noqa: PLC0415

    guard_options.add_guard(add, name)


def _guard(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli import guard  # noqa: PLC0415

    if parsed.guard_verb == "enable":
        return guard.turn_on(
            guard.EnableRequest(
                parsed.environment, parsed.policy, parsed.policy_digest, parsed.ledger
            )
        )
    if parsed.guard_verb == "disable":
        return guard.turn_off(parsed.environment)
    return guard.status(parsed.environment, parsed.form)


def _install(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.installation import install  # noqa: PLC0415

    return install.command(parsed.wheel, quiet=parsed.quiet)


def _doctor(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli import doctor, layers  # noqa: PLC0415

    asked = layers.asked_of(parsed.policy, parsed.environment)
    checks = doctor.examine()
    found = layers.layers_of(asked, (check.found for check in checks))
    doctor.print_report(checks, found, asked.path, as_json=parsed.format == "json")
    return int(
        any(check.found is False for check in checks)
        or any(one.is_missing for one in found)
    )


VERBS = {
    "watch": Verb(options.add_watch, _watch, runs_command=True),
    "learn": Verb(options.add_learn, _learn, runs_command=True),
    "prove": Verb(options.add_prove, _prove, runs_command=True),
    "sidecar": Verb(
        _add_sidecar,
        _sidecar,
        runs_command=True,
        words=SIDECAR_WORDS,
    ),
    "policy": Verb(options.add_policy, _policy),
    "report": Verb(options.add_report, _report),
    "reconcile": Verb(options.add_reconcile, _reconcile),
    "scan": Verb(options.add_scan, _scan),
    "inspect": Verb(_add_inspect, _inspect),
    "cassettes": Verb(cassette_options.add_cassettes, _cassettes),
    "verify": Verb(verify_options.add_verify, _verify),
    "guard": Verb(_add_guard, _guard),
    "install": Verb(options.add_install, _install),
    "doctor": Verb(options.add_doctor, _doctor),
}
"""In the order of `--help`."""
