"""The table of verbs: the options that each one takes, and the function that runs it.

A verb imports the rest only when it is called, so that `watch` starts fast.
"""

import argparse
import os
from collections.abc import Callable
from typing import NamedTuple

from egressmon.cli.options import running
from egressmon.cli.options.parsing import Add
from egressmon.cli.requests import (
    Call,
    LearnRequest,
    ProveRequest,
    RunRequest,
    SidecarRequest,
    StopRequest,
    WatchRequest,
)
from egressmon.cli.verbs import analysing, drifting
from egressmon.probes.loaders.loading import Preparation
from egressmon.startup.stored_types import stored

SIDECAR_WORDS = ("status", "mark", "stop", "reload", "install-service")
"""The words after `sidecar` with which nothing is watched."""


class Verb(NamedTuple):
    """One verb; `run` returns the exit status."""

    add: Callable[[Add, str], None]
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
    from egressmon.cli.running.watch import watch  # noqa: PLC0415

    return watch(request, call.arguments, preparation)


def _learn(parsed: argparse.Namespace, call: Call) -> int:
    request = LearnRequest(
        RunRequest.of(parsed), parsed.output, parsed.force, parsed.audit
    )
    preparation = _preparation(request.run, call.early)
    from egressmon.cli.running.learn import learn  # noqa: PLC0415

    return learn(request, call.arguments, preparation)


def _add_prove(add: Add, name: str) -> None:
    from egressmon.cli.options.proving import add_prove  # noqa: PLC0415

    add_prove(add, name)


def _prove(parsed: argparse.Namespace, call: Call) -> int:
    from egressmon.cli.running.prove import prove  # noqa: PLC0415

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


def _add_sidecar(add: Add, name: str) -> None:
    from egressmon.cli.options.sidecar.verbs import add_sidecar  # noqa: PLC0415

    add_sidecar(add, name)


def _sidecar(parsed: argparse.Namespace, call: Call) -> int:
    if parsed.sidecar_verb is None:
        from egressmon.cli.sidecar.start import sidecar  # noqa: PLC0415

        return sidecar(SidecarRequest.of(parsed), call.arguments)
    from egressmon.cli.options.sidecar import verbs as options  # noqa: PLC0415

    if parsed.sidecar_verb == options.INSTALL_SERVICE:
        from egressmon.cli.sidecar import install_service  # noqa: PLC0415

        return install_service.install_service(
            install_service.InstallServiceRequest.of(parsed)
        )
    options.require_asking(parsed)
    from egressmon.cli.sidecar import client as sidecar_client  # noqa: PLC0415

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


def _add_guard(add: Add, name: str) -> None:
    from egressmon.cli.options.guard import add_guard  # noqa: PLC0415

    add_guard(add, name)


def _guard(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli.machine import guard  # noqa: PLC0415

    if parsed.guard_verb == "enable":
        return guard.turn_on(
            guard.EnableRequest(
                parsed.environment, parsed.policy, parsed.policy_digest, parsed.ledger
            )
        )
    if parsed.guard_verb == "disable":
        return guard.turn_off(parsed.environment)
    return guard.status(parsed.environment, parsed.form)


def _add_install(add: Add, name: str) -> None:
    from egressmon.cli.options.machine import add_install  # noqa: PLC0415

    add_install(add, name)


def _install(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.installation import install  # noqa: PLC0415

    return install.command(parsed.wheel, quiet=parsed.quiet)


def _add_doctor(add: Add, name: str) -> None:
    from egressmon.cli.options.machine import add_doctor  # noqa: PLC0415

    add_doctor(add, name)


def _doctor(parsed: argparse.Namespace, _: Call) -> int:
    from egressmon.cli.machine import doctor, layers  # noqa: PLC0415

    asked = layers.asked_of(parsed.policy, parsed.environment)
    checks = doctor.examine()
    found = layers.layers_of(asked, (check.found for check in checks))
    doctor.print_report(checks, found, asked.path, as_json=parsed.format == "json")
    return int(
        any(check.found is False for check in checks)
        or any(one.is_missing for one in found)
    )


VERBS = {
    "watch": Verb(running.add_watch, _watch, runs_command=True),
    "learn": Verb(running.add_learn, _learn, runs_command=True),
    "prove": Verb(_add_prove, _prove, runs_command=True),
    "sidecar": Verb(
        _add_sidecar,
        _sidecar,
        runs_command=True,
        words=SIDECAR_WORDS,
    ),
    "policy": Verb(analysing.add_policy_options, analysing.run_policy),
    "report": Verb(analysing.add_report_options, analysing.run_report),
    "reconcile": Verb(analysing.add_reconcile_options, analysing.run_reconcile),
    "scan": Verb(analysing.add_scan_options, analysing.run_scan),
    "inspect": Verb(analysing.add_inspect_options, analysing.run_inspect),
    "cassettes": Verb(drifting.add_cassettes_options, drifting.run_cassettes),
    "tls": Verb(drifting.add_tls_options, drifting.run_tls),
    "baseline": Verb(drifting.add_baseline_options, drifting.run_baseline),
    "drift": Verb(drifting.add_drift_options, drifting.run_drift),
    "verify": Verb(analysing.add_verify_options, analysing.run_verify),
    "guard": Verb(_add_guard, _guard),
    "install": Verb(_add_install, _install),
    "doctor": Verb(_add_doctor, _doctor),
}
"""In the order of `--help`."""
