"""The options of `egressmon verify`, and its `--help`."""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.shared import ANALYSIS_STATUSES
from egressmon.cli.options.values import file_name


def add_verify(add: Add, name: str) -> None:
    """Add the verb `verify`."""
    sub = add(
        name,
        help="check that evidence is what was recorded, and says what it proves",
        description="Check each PATH, a file of evidence or a directory with some: its "
        "records, their chain, the lock, the counters, and each verdict again under "
        "the policy of the run. Needs no network and no rights.",
        epilog=ANALYSIS_STATUSES,
    )
    sub.add_argument("path", metavar="PATH", nargs="+", type=file_name)
    sub.add_argument(
        "--policy",
        metavar="FILE",
        type=file_name,
        action="append",
        default=[],
        help="the policy of the runs (default: found beside them, by its digest); "
        "several times, if it was reloaded",
    )
    sub.add_argument(
        "--anchor",
        metavar="FILE",
        type=file_name,
        help="a log with the lines that `--anchor` printed during the runs",
    )
    _add_signing_options(sub)
    sub.add_argument(
        "--format",
        choices=["text", "json"],
        default="text",
        help="the form of the result (default: text)",
    )
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_signing_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--allowed-signers",
        metavar="FILE",
        type=file_name,
        help="who may have signed the lock (ssh-keygen(1), ALLOWED SIGNERS)",
    )
    sub.add_argument(
        "--sigstore-identity",
        metavar="NAME",
        help="whose sigstore bundle of the lock it must be",
    )
    sub.add_argument(
        "--sigstore-issuer", metavar="URL", help="who vouches for that identity"
    )
