"""The options of `egressmon cassettes`, which has verbs of its own."""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.shared import ANALYSIS_STATUSES
from egressmon.cli.options.values import file_name

_FOLDERS = (
    "a folder of cassettes (default: those that pyproject.toml names, or every folder "
    "called cassettes)"
)


def add_cassettes(add: Add, name: str) -> None:
    """Add the verb `cassettes`."""
    sub = add(name, help="lock, verify, compare and renew recorded HTTP")
    verbs = sub.add_subparsers(dest="cassettes_verb", metavar="COMMAND", required=True)
    for make in (_add_lock, _add_verify, _add_drift, _add_refresh):
        verb = make(verbs.add_parser)
        verb.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_lock(add: Add) -> argparse.ArgumentParser:
    summary = "write cassettes.lock: the digest of each cassette"
    sub = add(
        "lock",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. What holds a secret, or is no "
        "cassette, is named and nothing is locked.",
        epilog=ANALYSIS_STATUSES,
    )
    sub.add_argument(
        "directories", metavar="DIR", nargs="*", type=file_name, help=_FOLDERS
    )
    return sub


def _add_verify(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "verify",
        help="compare cassettes with their lock",
        description="Compare cassettes with their lock. Each difference has a word: "
        "missing, changed, unlisted, stale or malformed.",
        epilog=ANALYSIS_STATUSES,
    )
    sub.add_argument(
        "directories", metavar="DIR", nargs="*", type=file_name, help=_FOLDERS
    )
    return sub


def _add_drift(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "drift",
        help="compare the structure of old and new answers",
        description="Compare the structure of the answers in OLD with those in NEW, "
        "two cassettes or two folders: status, header names, the shape of JSON and its "
        "types.",
        epilog="exit status: 0 the same, 1 they differ, 2 bad usage or bad input",
    )
    sub.add_argument("old", metavar="OLD", type=file_name)
    sub.add_argument("new", metavar="NEW", type=file_name)
    sub.add_argument(
        "--format",
        dest="form",
        choices=["text", "json", "github"],
        default="text",
        help="how to print what differs (default: text)",
    )
    return sub


def _add_refresh(add: Add) -> argparse.ArgumentParser:
    sub = add(
        "refresh",
        help="record anew, without secrets, and lock",
        description="Run pytest so that it records anew (--record-mode=rewrite), with "
        "secrets taken out; scan what was recorded, lock it, and print what to review. "
        "This asks the real services.",
        epilog="exit status: 0 recorded and locked, 1 not locked: tests failed, or a "
        "secret or no cassette was found; 2 bad usage",
        allow_abbrev=False,  # what is to be understood is to be written out
        usage="egressmon cassettes refresh --i-understand-this-spends-tokens [OPTIONS] "
        "-- pytest [ARGUMENT...]",
    )
    sub.add_argument(
        "--i-understand-this-spends-tokens",
        dest="spend",
        action="store_true",
        help="required: each test asks the real services, and somebody pays for it",
    )
    sub.add_argument(
        "--directory",
        dest="directories",
        metavar="DIR",
        action="append",
        type=file_name,
        help=_FOLDERS + "; may be given several times",
    )
    return sub
