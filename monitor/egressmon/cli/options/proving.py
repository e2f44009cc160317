"""The options of `egressmon prove`."""

import argparse

from egressmon.cli.options.parsing import Add, RawHelp
from egressmon.cli.options.shared import (
    add_catch_up,
    add_evidence_limit,
    add_policy_options,
    add_watching_options,
)
from egressmon.cli.options.values import file_name, runs

_PROOF_STATUSES = """\
exit status:
    0  PASS: every criterion of the proof holds
  120  FAIL: there were violations, an expectation did not hold, or the runs differ
  121  INCOMPLETE: something was lost or not seen, or the scenario was not carried out
  125  egressmon could not do its work; no proof was begun"""


def add_prove(add: Add, name: str) -> None:
    """Add the verb `prove`."""
    sub = add(
        name,
        help="run a scenario several times, and prove what it reaches",
        description="Run the scenario of PLAN, or COMMAND, several times, each in its "
        "own scope, and write a proof: the evidence of each run, what the runs say "
        "together, and a lock. The verdict is PASS, FAIL or INCOMPLETE.",
        epilog=_PROOF_STATUSES,
        formatter_class=RawHelp,
        usage=f"egressmon {name} [OPTIONS] (PLAN.toml | -- COMMAND [ARGUMENT...])",
    )
    sub.add_argument("plan", metavar="PLAN.toml", nargs="?", type=file_name)
    _add_scenario_options(sub)
    add_policy_options(sub)
    add_evidence_limit(sub)
    add_catch_up(sub)
    add_watching_options(sub)
    sub.add_argument(
        "--quiet", action="store_true", help="say nothing but errors and the verdict"
    )
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_scenario_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--runs",
        metavar="N",
        type=runs,
        help="how many runs to make (default: as the plan says, else 3)",
    )
    sub.add_argument(
        "--output",
        metavar="DIR",
        type=file_name,
        help="the folder of the proof, which must not exist (default: a new one, named "
        "after the time)",
    )
    sub.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change a value of the plan, such as phase.NAME.idle=5s; can be repeated",
    )
    sub.add_argument(
        "--sign-key",
        metavar="KEY",
        type=file_name,
        help="sign the lock with the SSH key in the file KEY",
    )
    sub.add_argument(
        "--anchor",
        metavar="FILE",
        type=file_name,
        help="add a line with the head of each run, and one with the digest of the "
        "lock, to FILE; - is standard output (`egressmon verify --anchor` compares)",
    )
    sub.add_argument(
        "--check", action="store_true", help="only check the plan and the policy"
    )
