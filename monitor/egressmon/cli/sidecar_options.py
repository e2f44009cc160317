"""The options of `egressmon sidecar`, which has verbs of its own."""

import argparse
from typing import TYPE_CHECKING, Any

from egressmon.cli.options import (
    Add,
    RawHelp,
    add_attribution_options,
    add_enforce_option,
    add_evidence_limit,
    add_policy_options,
    duration,
    file_name,
    size,
)
from egressmon.errors import UsageError
from egressmon.reports.forms import FORMS
from egressmon.sidecar.requests import VERBS

if TYPE_CHECKING:
    from egressmon.containers.wanted import Wanted

DEFAULT_FOLDER = "/run/egressmon"
INSTALL_SERVICE = "install-service"
_LEAST_BYTES, _LEAST_S = 4000, 1.0
"""Of a segment: each has what its records refer to again, and one lasts."""
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
    _add_scope_options(sub)
    add_policy_options(sub)
    add_enforce_option(sub)
    _add_start_options(sub)
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
    from egressmon.cli import install_service  # noqa: PLC0415 -- for this verb alone

    sub = add(
        INSTALL_SERVICE,
        help="write a systemd unit for it",
        description="Write a hardened systemd unit that starts the sidecar with the "
        "machine.",
        epilog="exit status: 0 done, 2 it could not be",
    )
    install_service.add_arguments(sub)


def _add_scope_options(sub: argparse.ArgumentParser) -> None:
    scope = sub.add_mutually_exclusive_group()
    scope.add_argument(
        "--all",
        action="store_true",
        help="watch the whole machine (the default)",
    )
    scope.add_argument(
        "--cgroup",
        metavar="PATH",
        type=file_name,
        help="watch the cgroup at PATH, and those below it",
    )
    scope.add_argument(
        "--container",
        dest="containers",
        metavar="NAME|ID|label=NAME[=VALUE]",
        type=_container,
        action="append",
        default=[],
        help="watch the containers of that name, id (12 digits or more) or label "
        "alone, which may start later; once for each",
    )
    scope.add_argument(
        "--pid",
        metavar="PID",
        type=_pid,
        help="watch that process, and what it has started and starts",
    )
    scope.add_argument(
        "--job",
        choices=("auto",),
        help="watch the caller's CI job alone, and the container engines that run",
    )


def _add_start_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--evidence",
        metavar="DIR",
        type=file_name,
        help="the folder for the evidence, which only root may write in (default: "
        "/var/lib/egressmon)",
    )
    sub.add_argument(
        "--detach",
        action="store_true",
        help="return once it watches, and leave it running",
    )
    _add_json(sub, "print what a later step needs as one line of JSON", default=False)
    sub.add_argument(
        "--token-file",
        metavar="FILE",
        type=file_name,
        help="write the token that concludes the run to the new file FILE",
    )
    for name, default, what in (
        ("heartbeat", "10s", "record that the run goes on"),
        ("canaries", "1m", "test whether the probes see"),
    ):
        sub.add_argument(
            f"--{name}",
            metavar="DURATION",
            type=duration,
            default=default,
            help=f"{what} each DURATION (default: {default})",
        )
    sub.add_argument(
        "--segment-size",
        metavar="SIZE",
        type=_segment_size,
        default="64MB",
        help="go on in another file when one has SIZE (default: %(default)s)",
    )
    sub.add_argument(
        "--segment-age",
        metavar="DURATION",
        type=_segment_age,
        default="24h",
        help="go on in another file when one is so old (default: %(default)s)",
    )
    add_evidence_limit(sub, "16GB")
    sub.add_argument(
        "--keep-probes",
        metavar="DIR",
        type=file_name,
        help="keep the probes in DIR, a folder of root's in a bpffs, so that a sidecar "
        "that is started there after a crash misses nothing",
    )
    sub.add_argument(
        "--engine-socket",
        dest="engine_sockets",
        metavar="ENGINE=PATH",
        type=_engine_socket,
        action="append",
        default=[],
        help="ask ENGINE (docker, podman) about containers at PATH (default: "
        "docker=/run/docker.sock, podman=/run/podman/podman.sock)",
    )
    add_attribution_options(sub)
    sub.add_argument("--quiet", action="store_true", help="say nothing but errors")
    # What a sidecar is told by the one that started it with --detach.
    sub.add_argument("--starter", type=_ids, help=argparse.SUPPRESS)
    sub.add_argument("--token-digest", type=bytes.fromhex, help=argparse.SUPPRESS)
    sub.add_argument("--told", type=int, help=argparse.SUPPRESS)


def _container(text: str) -> "Wanted":
    from egressmon.containers.wanted import (  # noqa: PLC0415 -- for this option alone
        wanted_of,
    )

    try:
        return wanted_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _pid(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) >= 1 << 22:
        raise argparse.ArgumentTypeError(f"{text!r}: write the number of a process")
    return int(text)


def _segment_size(text: str) -> int:
    if (found := size(text)) < _LEAST_BYTES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write {_LEAST_BYTES // 1000}kB or more"
        )
    return found


def _segment_age(text: str) -> float:
    if (found := duration(text)) < _LEAST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: write {_LEAST_S:g}s or more")
    return found


def _engine_socket(text: str) -> tuple[str, str]:
    engine, _, path = text.partition("=")
    if engine not in {"docker", "podman"} or not path.startswith("/"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: write docker=PATH or podman=PATH, with a path from the root"
        )
    return engine, path


def _ids(text: str) -> tuple[int, int]:
    user, _, group = text.partition(":")
    return int(user), int(group)


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


def _add_json(
    sub: argparse.ArgumentParser, summary: str, default: Any = argparse.SUPPRESS
) -> None:
    sub.add_argument("--json", action="store_true", default=default, help=summary)
