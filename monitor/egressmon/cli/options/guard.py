"""The options of `egressmon guard`, which has verbs of its own."""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.shared import ANALYSIS_STATUSES
from egressmon.cli.options.values import digest, file_name

_WHERE = (
    "a virtual environment that has egressmon (default: the one that this command "
    "runs in)"
)


def add_guard(add: Add, name: str) -> None:
    """Add the verb `guard`."""
    sub = add(name, help="refuse inside each Python of an environment")
    verbs = sub.add_subparsers(dest="guard_verb", metavar="COMMAND", required=True)
    for make in (_add_enable, _add_disable, _add_status):
        verb = make(verbs.add_parser)
        verb.add_argument("--environment", metavar="DIR", type=file_name, help=_WHERE)
        verb.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_enable(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "enable",
        help="guard each Python that starts there from now on",
        description="Write a start-up line (.pth) by which each Python of the "
        "environment refuses what the policy does not allow, its children of the same "
        "environment too. It sees what Python's own sockets do; what goes around them, "
        "`egressmon watch` sees.",
        epilog=ANALYSIS_STATUSES,
    )
    sub.add_argument(
        "--policy",
        metavar="FILE",
        type=file_name,
        help="the policy (default: the nearest one upward, as for `watch`)",
    )
    sub.add_argument(
        "--policy-digest",
        metavar="HEX",
        type=digest,
        help="refuse every destination when the policy file has another SHA-256",
    )
    sub.add_argument(
        "--ledger",
        metavar="FILE",
        type=file_name,
        help="append each decision there as a line of JSON; what cannot be written "
        "down is refused",
    )
    return sub


def _add_disable(add: Add) -> argparse.ArgumentParser:
    return add(
        "disable",
        help="remove the start-up line",
        description="Remove the start-up line. What runs already stays guarded.",
        epilog=ANALYSIS_STATUSES,
    )


def _add_status(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "status",
        help="say whether an environment is guarded, and by which policy",
        description="Say whether an environment is guarded, by which policy, and what "
        "no start-up line guards.",
        epilog="exit status: 0 guarded, 1 not guarded or its policy cannot be used, "
        "2 bad usage",
    )
    sub.add_argument(
        "--format",
        dest="form",
        choices=["text", "json"],
        default="text",
        help="how to print it (default: text)",
    )
    return sub
