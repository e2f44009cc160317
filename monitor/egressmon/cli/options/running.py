"""The options of the verbs that run a command: `watch` and `learn`."""

import argparse

from egressmon.cli.options.parsing import Add, RawHelp
from egressmon.cli.options.shared import (
    add_catch_up,
    add_enforce_option,
    add_evidence_limit,
    add_policy_options,
    add_watching_options,
)
from egressmon.cli.options.values import duration, file_name

BESIDE = "SURFACES.md"
"""How the inventory of `learn --audit` is called that stands beside the policy."""
_RUN_STATUSES = """\
exit status: COMMAND's own, unless there is something graver:
  120  violations were found (enforce = fail)
  121  the evidence is incomplete (unless --allow-incomplete)
  125  egressmon could not do its work; COMMAND was not started
  126  COMMAND could not be executed      127  COMMAND was not found
  128+n  COMMAND was killed by signal n"""


def _add_run(add: Add, name: str, summary: str) -> argparse.ArgumentParser:
    """Add a verb that runs a command, with the options that all such verbs have."""
    sub = add(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_RUN_STATUSES,
        formatter_class=RawHelp,
        usage=f"egressmon {name} [OPTIONS] -- COMMAND [ARGUMENT...]",
    )
    _add_evidence_options(sub)
    add_watching_options(sub)
    _add_output_options(sub)
    return sub


def _add_evidence_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--evidence",
        metavar="FILE",
        type=file_name,
        help="write the evidence (JSONL) to FILE, replacing it; - is standard "
        "output (default: a new file in .egressmon/)",
    )
    add_evidence_limit(sub)
    _add_anchor_options(sub)
    sub.add_argument(
        "--linger",
        metavar="DURATION",
        type=duration,
        help="how long to wait for processes that the command leaves running: 0s "
        "ends with the command (default: to the last one)",
    )
    add_catch_up(sub)
    sub.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="do not turn incomplete evidence into status 121",
    )


def _add_anchor_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--anchor",
        metavar="FILE",
        type=file_name,
        help="add a line with the head of the evidence to FILE at the end; - is "
        "standard output (`egressmon verify --anchor` compares)",
    )
    sub.add_argument(
        "--anchor-every",
        metavar="DURATION",
        type=duration,
        help="do so each DURATION, too, if there is anything new",
    )


def _add_output_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--quiet", action="store_true", help="say nothing but errors and violations"
    )
    sub.add_argument(
        "--verbose", action="store_true", help="show whole logs and tracebacks"
    )
    sub.add_argument("--ready-file", metavar="FILE", help=argparse.SUPPRESS)


def add_watch(add: Add, name: str) -> None:
    """Add the verb `watch`."""
    sub = _add_run(add, name, "run a command and watch what it reaches")
    add_policy_options(sub)
    add_enforce_option(sub)


def add_learn(add: Add, name: str) -> None:
    """Add the verb `learn`."""
    sub = _add_run(add, name, "write the smallest policy a run needs")
    sub.add_argument(
        "--output",
        metavar="FILE",
        type=file_name,
        default="egress.toml",
        help="where to write the policy; - is standard output (default: %(default)s)",
    )
    sub.add_argument(
        "--force", action="store_true", help="replace an existing policy file"
    )
    sub.add_argument(
        "--audit",
        metavar="FILE",
        nargs="?",
        const=BESIDE,
        type=file_name,
        help="also write an inventory for a review to FILE, as Markdown: all that was "
        "reached, by phase, by whom, what it probably is, and what to ask; - is "
        f"standard output (default: {BESIDE}, beside the policy)",
    )
