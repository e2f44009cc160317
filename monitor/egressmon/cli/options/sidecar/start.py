"""The options with which a sidecar is started."""

import argparse

from egressmon.cli.options.shared import add_attribution_options, add_evidence_limit
from egressmon.cli.options.sidecar.values import (
    container,
    engine_socket,
    ids,
    pid,
    segment_age,
    segment_size,
)
from egressmon.cli.options.values import duration, file_name


def add_scope_options(sub: argparse.ArgumentParser) -> None:
    """Add the options that say what is watched."""
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
        type=container,
        action="append",
        default=[],
        help="watch the containers of that name, id (12 digits or more) or label "
        "alone, which may start later; once for each",
    )
    scope.add_argument(
        "--pid",
        metavar="PID",
        type=pid,
        help="watch that process, and what it has started and starts",
    )
    scope.add_argument(
        "--job",
        choices=("auto",),
        help="watch the caller's CI job alone, and the container engines that run",
    )


def add_start_options(sub: argparse.ArgumentParser) -> None:
    """Add the options that say how it watches, and where it keeps what it saw."""
    sub.add_argument(
        "--evidence",
        metavar="DIR",
        type=file_name,
        help="the folder for the evidence, which only root may write in (default: "
        "/var/lib/egressmon)",
    )
    _add_detach_options(sub)
    _add_periods(sub)
    _add_segment_options(sub)
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
        type=engine_socket,
        action="append",
        default=[],
        help="ask ENGINE (docker, podman) about containers at PATH (default: "
        "docker=/run/docker.sock, podman=/run/podman/podman.sock)",
    )
    add_attribution_options(sub)
    sub.add_argument("--quiet", action="store_true", help="say nothing but errors")
    _add_told(sub)


def _add_detach_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--detach",
        action="store_true",
        help="return once it watches, and leave it running",
    )
    sub.add_argument(
        "--json",
        action="store_true",
        help="print what a later step needs as one line of JSON",
    )
    sub.add_argument(
        "--token-file",
        metavar="FILE",
        type=file_name,
        help="write the token that concludes the run to the new file FILE",
    )


def _add_periods(sub: argparse.ArgumentParser) -> None:
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


def _add_segment_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--segment-size",
        metavar="SIZE",
        type=segment_size,
        default="64MB",
        help="go on in another file when one has SIZE (default: %(default)s)",
    )
    sub.add_argument(
        "--segment-age",
        metavar="DURATION",
        type=segment_age,
        default="24h",
        help="go on in another file when one is so old (default: %(default)s)",
    )


# What a sidecar is told by the one that started it with --detach.
def _add_told(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--starter", type=ids, help=argparse.SUPPRESS)
    sub.add_argument("--token-digest", type=bytes.fromhex, help=argparse.SUPPRESS)
    sub.add_argument("--told", type=int, help=argparse.SUPPRESS)
