"""The options of `egressmon policy`, which has verbs of its own."""

import argparse

from egressmon.cli.options.filters import add_nftables, add_pf
from egressmon.cli.options.parsing import Add
from egressmon.cli.options.shared import ANALYSIS_STATUSES, add_digest_option
from egressmon.cli.options.values import file_name
from egressmon.policy.language.routes import ROUTES


def add_policy(add: Add, name: str) -> None:
    """Add the verb `policy`, with verbs of its own."""
    sub = add(
        name, help="check a policy file, ask what it says, or render it as a filter"
    )
    verbs = sub.add_subparsers(dest="policy_verb", metavar="COMMAND", required=True)
    for verb in (
        _add_check(verbs.add_parser),
        _add_explain(verbs.add_parser),
        add_nftables(verbs.add_parser),
        add_pf(verbs.add_parser),
    ):
        verb.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_check(add: Add) -> argparse.ArgumentParser:
    check = add(
        "check",
        help="validate a policy file, or compare it with evidence",
        description="Validate a policy file; with --against, say which of its entries "
        "nothing used or are wider than what was used, and what was reached that none "
        "of them covers, each with the TOML that closes it.",
        epilog=f"{ANALYSIS_STATUSES}, or evidence that is not whole",
    )
    check.add_argument("file", metavar="FILE", type=file_name)
    check.add_argument(
        "--strict",
        action="store_true",
        help="require a reason for every allow entry; with --against, a `by`, too, "
        "where one package alone used it",
    )
    check.add_argument(
        "--against",
        metavar="EVIDENCE",
        nargs="+",
        type=file_name,
        help="compare with evidence: files, segments, or folders with some",
    )
    check.add_argument(
        "--format",
        choices=["text", "json"],
        default="text",
        help="how to print what --against finds (default: text)",
    )
    add_digest_option(check)
    return check


def _add_explain(add: Add) -> argparse.ArgumentParser:
    explain = add(
        "explain",
        help="say what a destination would get, and why",
        description="Say what a destination would get, and why.",
        epilog=ANALYSIS_STATUSES,
    )
    explain.add_argument("file", metavar="FILE", type=file_name)
    explain.add_argument("destination", metavar="HOST[:PORT][/PROTOCOL]")
    who = explain.add_argument_group(
        "who reaches it", "what is not said is unknown, and matches no `by`"
    )
    who.add_argument("--package", metavar="NAME", help="a package's code")
    who.add_argument("--exe", metavar="PATH", help="an executable")
    who.add_argument("--module", metavar="PATH", help="a calling module or binding")
    who.add_argument("--route", choices=ROUTES, help="a route")
    who.add_argument(
        "--bypass",
        action="store_true",
        help="past the sockets of the process's own language",
    )
    who.add_argument(
        "--claimed",
        action="store_true",
        help="who it is could have been made up in the run",
    )
    return explain
