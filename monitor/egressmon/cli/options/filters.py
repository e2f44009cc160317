"""The options of `egressmon policy nftables` and `egressmon policy pf`."""

import argparse

from egressmon import clock
from egressmon.cli.options.parsing import Add
from egressmon.cli.options.shared import add_digest_option
from egressmon.cli.options.values import file_name

_STATUSES = (
    "exit status: 0 fine, 1 the addresses of a name are not known (or, with --remove, "
    "there was no filter), 2 bad usage, or the filter could not be changed"
)
_USER = "a user, by name or number"
_SHORTEST_S, _LONGEST_S = 60, 7 * 24 * 3600


def add_nftables(add: Add) -> argparse.ArgumentParser:
    """Add `policy nftables`."""
    sub = add(
        "nftables",
        help="render the policy as a filter of Linux, and apply it",
        description="Print the policy as a ruleset of nftables (table inet egressmon), "
        "or apply it in this network namespace. What a filter cannot express is said "
        "on standard error, and in the ruleset (docs/os-filter.md).",
        epilog=_STATUSES,
    )
    sub.add_argument("file", metavar="FILE", nargs="?", type=file_name)
    what = sub.add_mutually_exclusive_group()
    for option, text in (
        ("--apply", "look the host names up, and load the filter, or replace it"),
        ("--refresh", "look the host names up anew, for the filter that is loaded"),
        ("--remove", "remove the filter; FILE is not needed"),
    ):
        what.add_argument(
            option, dest="action", action="store_const", const=option[2:], help=text
        )
    sub.set_defaults(action="print")
    whose = sub.add_argument_group(
        "whose traffic", "without any, that of the whole machine"
    ).add_mutually_exclusive_group()
    whose.add_argument(
        "--cgroup",
        metavar="PATH",
        type=file_name,
        help="a cgroup (v2), and those in it",
    )
    whose.add_argument("--uid", metavar="USER", help=_USER)
    sub.add_argument(
        "--lifetime",
        metavar="DURATION",
        type=_lifetime,
        default=3600,
        help="how long an address is believed that --refresh does not find again "
        "(default: 1h; from 1m to 168h)",
    )
    _add_shared(sub)
    return sub


def add_pf(add: Add) -> argparse.ArgumentParser:
    """Add `policy pf`."""
    sub = add(
        "pf",
        help="render the policy as a filter of macOS",
        description="Print the policy as an anchor of pf (docs/os-filter.md).",
        epilog=_STATUSES,
    )
    sub.add_argument("file", metavar="FILE", type=file_name)
    sub.add_argument("--uid", metavar="USER", help=_USER)
    _add_shared(sub)
    return sub


def _add_shared(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--address",
        metavar="NAME=ADDRESS",
        action="append",
        default=[],
        help="an address of a host name, which is not looked up then; also for names "
        "that a wildcard covers; several times",
    )
    sub.add_argument(
        "--narrow",
        action="store_true",
        help="leave out entries with `by`, and loopback, where the filter would let "
        "more through than the policy",
    )
    add_digest_option(sub)


def _lifetime(text: str) -> int:
    try:
        seconds = int(clock.seconds(text))
    except ValueError:
        seconds = 0
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: write 1m to 168h")
    return seconds
