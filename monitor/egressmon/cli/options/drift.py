"""The options of `egressmon baseline` and `egressmon drift`, and their `--help`."""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.tls import add_handshake_options
from egressmon.cli.options.values import file_name
from egressmon.cli.policy.output import STDOUT

_EVIDENCE = "a file of evidence, or a folder with some: of a proof, or in segments"
_WRITE_STATUSES = "exit status: 0 written, 2 bad usage, or evidence that is not whole"


def add_baseline(add: Add, name: str) -> None:
    """Add the verb `baseline`."""
    sub = add(name, help="write down what runs reach, to compare later runs with")
    verbs = sub.add_subparsers(dest="baseline_verb", metavar="COMMAND", required=True)
    for make in (_add_write, _add_update):
        verb = make(verbs.add_parser)
        verb.add_argument(
            "--policy",
            metavar="FILE",
            type=file_name,
            help="the policy of --tls (default: as `watch` takes it)",
        )
        _add_tls(verb)
        verb.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_write(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "write",
        help="make a baseline of one or many runs",
        description="Write what the runs reached as TOML, for review: destinations, "
        "look-ups, who connects. It has no times and no process ids, so that equal "
        "runs make equal files.",
        epilog=_WRITE_STATUSES,
    )
    sub.add_argument(
        "evidence", metavar="EVIDENCE", nargs="+", type=file_name, help=_EVIDENCE
    )
    sub.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=file_name,
        default=STDOUT,
        help="where it is written (default: standard output)",
    )
    sub.add_argument("--force", action="store_true", help="replace an existing FILE")
    sub.add_argument(
        "--empty", action="store_true", help="also of runs that reached nothing at all"
    )
    return sub


def _add_update(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "update",
        help="replace a baseline after a review, which it keeps",
        description="Replace what BASELINE holds by what the runs of EVIDENCE reached, "
        "or, without EVIDENCE, take it as somebody edited it. The review is kept in "
        "the file, as are its [tls] tables.",
        epilog=_WRITE_STATUSES,
    )
    sub.add_argument("baseline", metavar="BASELINE", type=file_name)
    sub.add_argument(
        "evidence", metavar="EVIDENCE", nargs="*", type=file_name, help=_EVIDENCE
    )
    sub.add_argument(
        "--reviewed-by", metavar="NAME", help="required: who looked at what changed"
    )
    sub.add_argument(
        "--reason", metavar="TEXT", help="required: why it is as it should be"
    )
    sub.add_argument(
        "--keep-gone",
        action="store_true",
        help="add what the runs reached, and keep what they did not",
    )
    sub.add_argument(
        "--empty", action="store_true", help="also of runs that reached nothing at all"
    )
    return sub


def add_drift(add: Add, name: str) -> None:
    """Add the verb `drift`."""
    sub = add(
        name,
        help="compare what runs reach with a reviewed baseline",
        description="Compare what the runs of EVIDENCE reached with BASELINE: what is "
        "new, gone or changed, who did it, and since when if several runs are given. "
        "How much each kind of change counts is in [drift] of the policy.",
        epilog="exit status: 0 no drift, 1 drift, 2 not comparable, bad usage or "
        "unreadable input",
    )
    sub.add_argument("baseline", metavar="BASELINE", type=file_name)
    sub.add_argument(
        "evidence", metavar="EVIDENCE", nargs="+", type=file_name, help=_EVIDENCE
    )
    sub.add_argument(
        "--policy",
        metavar="FILE",
        type=file_name,
        help="the policy with [drift], which holds now (default: as `watch` takes it)",
    )
    sub.add_argument(
        "--format",
        dest="form",
        choices=["table", "json", "markdown", "github"],
        default="table",
        help="how to print what differs (default: table)",
    )
    _add_tls(sub)
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_tls(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--tls",
        action="store_true",
        help="shake hands with the hosts that the policy allows by name, as `egressmon "
        "tls` does, and with those that its wildcards cover and the evidence or the "
        "baseline names",
    )
    add_handshake_options(sub)
