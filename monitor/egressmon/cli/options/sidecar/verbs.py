"""The options of `egressmon sidecar`, which has verbs of its own."""

import argparse
from typing import Any

from egressmon.cli.options.parsing import Add, RawHelp
from egressmon.cli.options.shared import add_enforce_option, add_policy_options
from egressmon.cli.options.sidecar.service import add_arguments
from egressmon.cli.options.sidecar.start import add_scope_options, add_start_options
from egressmon.cli.options.values import file_name
from egressmon.errors import UsageError
from egressmon.reports.runs.forms import FORMS
from egressmon.sidecar.requests import VERBS

DEFAULT_FOLDER = "/run/egressmon"
INSTALL_SERVICE = "install-service"
WORDS = (*VERBS, INSTALL_SERVICE)
_STATUSES = "exit status: 0 done, 1 refused, 2 bad usage, or no sidecar is there"
_STOP_STATUSES = """\
exit status: the run's own
    0  the run was concluded: no violations (or they are only reported)
    1  the sidecar refused
    2  bad usage, or no sidecar is there, or what is there is none
  120  violations were found (enforce = fail)
  121  the evidence is incomplete, or the run was stopped without its token"""
_WATCH_STATUSES = """\
exit status: that of `egressmon sidecar stop`; with --detach 0 once it watches;
  125  egressmon could not do its work; nothing is watched"""


def add_sidecar(add: Add, name: str) -> None:
    """Add the verb `sidecar`, with the verbs that ask a running one."""
    sub = add(
        name,
        help="watch the machine, or a cgroup, until stopped",
        description="Watch the machine, or a cgroup, until it is stopped; or ask a "
        "sidecar that is running.",
        epilog=_WATCH_STATUSES,
        formatter_class=RawHelp,
        usage=f"egressmon {name} [OPTIONS] [{' | '.join(WORDS)}]",
    )
    add_scope_options(sub)
    add_policy_options(sub)
    add_enforce_option(sub)
    add_start_options(sub)
    _add_common(sub, DEFAULT_FOLDER)
    verbs = sub.add_subparsers(
        dest="sidecar_verb", metavar="COMMAND", required=False, prog=f"egressmon {name}"
    )
    for make in (_add_status, _add_mark, _add_stop, _add_reload):
        _add_common(make(verbs.add_parser), argparse.SUPPRESS)
    _add_install_service(verbs.add_parser)


def require_asking(parsed: argparse.Namespace) -> None:
    """Raise UsageError if `parsed` asks a sidecar, and has options of one to start."""
    watching = {
        "all": "--all",
        "cgroup": "--cgroup",
        "containers": "--container",
        "pid": "--pid",
        "job": "--job",
        "policy": "--policy",
        "policy_digest": "--policy-digest",
        "enforce": "--enforce",
        "evidence": "--evidence",
        "detach": "--detach",
    }
    given = [option for name, option in watching.items() if getattr(parsed, name)]
    if given:
        raise UsageError(
            f"{given[0]} is of no use with `sidecar {parsed.sidecar_verb}`",
            f"see `egressmon sidecar {parsed.sidecar_verb} --help`",
        )


def _add_install_service(add: Add) -> None:
    sub = add(
        INSTALL_SERVICE,
        help="write a systemd unit for it",
        description="Write a hardened systemd unit that starts the sidecar with the "
        "machine.",
        epilog="exit status: 0 done, 2 it could not be",
    )
    add_arguments(sub)


# What is said before the word of an asking verb is not replaced by what is not said
# after it: hence argparse.SUPPRESS, also below.
def _add_common(sub: argparse.ArgumentParser, runtime: str) -> None:
    default: Any = False if runtime != argparse.SUPPRESS else argparse.SUPPRESS
    sub.add_argument(
        "--runtime",
        metavar="DIR",
        type=file_name,
        default=runtime,
        help=f"the folder of the control socket (default: {DEFAULT_FOLDER})",
    )
    sub.add_argument(
        "--verbose", action="store_true", default=default, help="show tracebacks"
    )


def _add_status(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "status",
        help="say how a running sidecar is doing",
        description="Say how a running sidecar is doing. Anybody may ask.",
        epilog=_STATUSES,
    )
    _add_json(sub, "print the answer as one line of JSON")
    return sub


def _add_mark(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "mark",
        help="say that a phase begins",
        description="Say that a phase of the job begins. What the evidence then says "
        "of it is the caller's claim. Root, who started the sidecar, and what it "
        "watches may do so.",
        epilog=_STATUSES,
    )
    sub.add_argument("phase", metavar="PHASE", help="its name: 1 to 100 characters")
    return sub


def _add_stop(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "stop",
        help="end the run, and say how it went",
        description="End the run, and say how it went. With the token it is concluded; "
        "root may stop it without, and then it is incomplete.",
        epilog=_STOP_STATUSES,
        formatter_class=RawHelp,
    )
    _add_token(sub)
    sub.add_argument(
        "--report",
        choices=FORMS,
        help="how to print what was found, on standard error: for a terminal, or as "
        "the CI system shows it (default: plain, or nothing with --json)",
    )
    _add_json(sub, "print the answer as one line of JSON on standard output")
    return sub


def _add_reload(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "reload",
        help="read the policy again",
        description="Read the policy again. If it cannot be used, the old one stays. "
        "Who has the token may do so, and root outside of what is watched.",
        epilog=_STATUSES,
    )
    _add_token(sub)
    return sub


def _add_token(sub: argparse.ArgumentParser) -> None:
    token = sub.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file",
        metavar="FILE",
        type=file_name,
        default=argparse.SUPPRESS,
        help="the file with the token, which only its owner may read",
    )
    token.add_argument(
        "--token-stdin",
        action="store_true",
        help="read the token from standard input",
    )


def _add_json(sub: argparse.ArgumentParser, summary: str) -> None:
    sub.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help=summary
    )
