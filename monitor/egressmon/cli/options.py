"""The options of all verbs, and the text of `--help`."""

import argparse
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

from egressmon import clock
from egressmon.attribution import LEVELS
from egressmon.errors import UsageError
from egressmon.policy.language.routes import ROUTES
from egressmon.probes.loaders.loading import CHOICES
from egressmon.runs.catch_up import DEFAULT_S as CATCH_UP_S
from egressmon.sanitise.argv_mode import ARGV_MODES

_RUN_STATUSES = """\
exit status: COMMAND's own, unless there is something graver:
  120  violations were found (enforce = fail)
  121  the evidence is incomplete (unless --allow-incomplete)
  125  egressmon could not do its work; COMMAND was not started
  126  COMMAND could not be executed      127  COMMAND was not found
  128+n  COMMAND was killed by signal n"""
_PROOF_STATUSES = """\
exit status:
    0  PASS: every criterion of the proof holds
  120  FAIL: there were violations, an expectation did not hold, or the runs differ
  121  INCOMPLETE: something was lost or not seen, or the scenario was not carried out
  125  egressmon could not do its work; no proof was begun"""
ANALYSIS_STATUSES = "exit status: 0 fine, 1 a finding, 2 bad usage or unreadable input"
_SIZE = re.compile(r"(\d{1,9})(kB|MB|GB)?", re.ASCII)
_POWERS = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, None: 1}
_WITH_COMMAND = (["watch"], ["learn"], ["prove"], ["cassettes", "refresh"])
_DIGEST = re.compile(r"(?:sha256:)?([0-9A-Fa-f]{64})")


# argparse makes a formatter for each option as it is added, and imports shutil (4 ms)
# to learn how wide the terminal is.
class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class RawHelp(_Help, argparse.RawDescriptionHelpFormatter):
    """Shows descriptions with the lines that they have."""


# As shutil.get_terminal_size() has it.
def _columns() -> int:
    with suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with suppress(AttributeError, ValueError, OSError):
        output = sys.__stdout__
        found = os.get_terminal_size(output.fileno()).columns if output else 0
        if found > 0:
            return found
    return 80


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Help)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see `{self.prog} --help`")


class _Version(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        from egressmon.host import egressmon_version  # noqa: PLC0415 -- seldom

        sys.stdout.write(f"egressmon {egressmon_version()}\n")
        raise SystemExit(0)


def duration(text: str) -> float:
    """Return the seconds in a duration such as 0s, 500ms or 2m."""
    try:
        return clock.seconds(text)
    except ValueError as error:
        problem = f"{text!r}: write {clock.HOW_LONG}"
        raise argparse.ArgumentTypeError(problem) from error


def size(text: str) -> int:
    """Return the bytes in a size such as 64kB, 500MB or 2GB."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: write 64kB, 500MB or 2GB")
    return int(match.group(1)) * _POWERS[match.group(2)]


def file_name(text: str) -> str:
    """Return `text`, which names a file: an empty variable must not stand for none."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a file")
    return text


def digest(text: str) -> str:
    """Return a SHA-256 as `sha256:` and 64 small hexadecimal digits.

    The prefix may be left out in `text`, and the digits may be capitals.
    """
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write the 64 hexadecimal digits of a SHA-256"
        )
    return f"sha256:{found[1].lower()}"


Add: TypeAlias = Callable[..., argparse.ArgumentParser]
"""Adds a verb to the command line: argparse's `add_parser`."""


def parse(arguments: list[str], add_verbs: Callable[[Add], None]) -> argparse.Namespace:
    """Return the parsed `arguments`; `add_verbs` adds all verbs. Raises UsageError.

    With a verb that runs a command, the words after the first `--` are `command`; with
    any other they are what the verb takes, such as paths that begin with `-`.
    """
    if not _runs_command(arguments):
        return parser(add_verbs).parse_args(arguments)
    # argparse's own handling of a command differs between versions of Python.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    try:
        parsed = parser(add_verbs).parse_args(arguments[:end])
    except UsageError as error:
        if end == len(arguments) and arguments[:1] in (["watch"], ["learn"]):
            error.hint = f"egressmon {arguments[0]} [OPTIONS] -- COMMAND [ARGUMENT...]"
        raise
    parsed.command = arguments[end + 1 :]
    return parsed


def _runs_command(arguments: list[str]) -> bool:
    return arguments[:1] in _WITH_COMMAND or arguments[:2] in _WITH_COMMAND


def parser(add_verbs: Callable[[Add], None]) -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `add_verbs` adds all verbs."""
    top = _Parser(
        prog="egressmon",
        description="See, attribute, judge and prove what a command connects to, "
        "from the kernel.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = top.add_subparsers(
        dest="verb", metavar="COMMAND", required=True, parser_class=_Parser
    )
    add_verbs(commands.add_parser)
    return top


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
    _add_watching_options(sub)
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
    _add_catch_up(sub)
    sub.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="do not turn incomplete evidence into status 121",
    )


def add_evidence_limit(sub: argparse.ArgumentParser, default: str = "1GB") -> None:
    """Add the option that bounds the evidence."""
    sub.add_argument(
        "--evidence-limit",
        metavar="SIZE",
        type=size,
        default=default,
        help="write no more than SIZE of evidence, such as 500MB; what is left out "
        "makes it incomplete (default: %(default)s)",
    )


def _add_catch_up(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--catch-up",
        metavar="DURATION",
        type=duration,
        default=f"{CATCH_UP_S:g}s",
        help="how long to go on reading when nothing runs any more; what is then left "
        "is counted, and makes the evidence incomplete (default: %(default)s)",
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


def _add_watching_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--engine",
        choices=CHOICES,
        default="auto",
        help="what loads the probes: libbpf (compiled beforehand), bcc (compiles them "
        "on the spot), or auto: libbpf, or bcc where that cannot be (default: auto)",
    )
    add_attribution_options(sub)


def add_attribution_options(sub: argparse.ArgumentParser) -> None:
    """Add the options for what is found out, and recorded, of who connects."""
    sub.add_argument(
        "--attribution",
        choices=LEVELS,
        default="full",
        help="how much to find out about who connects: the process alone, native "
        "modules and packages too, or Python code and tests as well (default: full)",
    )
    sub.add_argument(
        "--argv",
        choices=ARGV_MODES,
        default="masked",
        help="how much of command lines to record: nothing, the program's name, or all "
        "with secrets masked (default: masked)",
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


def add_enforce_option(sub: argparse.ArgumentParser) -> None:
    """Add the option that overrides what the policy does about violations."""
    sub.add_argument(
        "--enforce",
        choices=["report", "fail"],
        help="override the policy: only report violations, or end with 120",
    )


def add_policy_options(sub: argparse.ArgumentParser) -> None:
    """Add the options that name a policy."""
    sub.add_argument(
        "--policy",
        metavar="FILE",
        type=file_name,
        help="the policy (default: egress.toml, else [tool.egressmon] in "
        "pyproject.toml, searched upward)",
    )
    add_digest_option(sub)


def add_digest_option(sub: argparse.ArgumentParser) -> None:
    """Add the option that binds the policy to its bytes."""
    sub.add_argument(
        "--policy-digest",
        metavar="HEX",
        type=digest,
        help="refuse a policy file of another SHA-256 than this "
        "(`egressmon policy check` prints it)",
    )


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
    _add_catch_up(sub)
    _add_watching_options(sub)
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


def runs(text: str) -> int:
    """Return the number of runs that `text` says, from 1 to 99."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 99:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number from 1 to 99")
    return int(text)


def add_report(add: Add, name: str) -> None:
    """Add the verb `report`."""
    sub = add(
        name,
        help="show evidence in another form",
        description="Print each record of EVIDENCE as a line of JSON, with all that it "
        "refers to in its place; or a Statement about it that can be signed.",
        epilog=ANALYSIS_STATUSES,
    )
    sub.add_argument("evidence", metavar="EVIDENCE", nargs="+", type=file_name)
    sub.add_argument(
        "--format",
        choices=["json", "in-toto"],
        default="json",
        help="json: the records; in-toto: a Statement with a runtime trace, of what "
        "verifies, a file or a directory (default: json)",
    )
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def add_scan(add: Add, name: str) -> None:
    """Add the verb `scan`."""
    sub = add(
        name,
        help="find secrets in evidence and recordings",
        description="Search files for secrets, folders with all that is below them: "
        "evidence, cassettes, HAR files, logs. What is base64, percent-encoded, "
        "escaped, UTF-16 or compressed by gzip is searched, too.",
        epilog="exit status: 0 nothing found, 1 a secret was found, 2 bad usage, or "
        "something could not be searched to its end",
    )
    sub.add_argument("paths", metavar="PATH", nargs="+", type=file_name)
    sub.add_argument(
        "--format",
        dest="form",
        choices=["text", "json", "sarif", "github"],
        default="text",
        help="how to print what is found; the secrets are masked (default: text)",
    )
    sub.add_argument(
        "--allow",
        metavar="FILE",
        type=file_name,
        help="the file of what looks like a secret and is none "
        "(default: .egressmon-scan.toml in the working directory, if it is there)",
    )
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def add_reconcile(add: Add, name: str) -> None:
    """Add the verb `reconcile`."""
    sub = add(
        name,
        help="compare the kernel's evidence with a guard's ledger",
        description="List what only one of the two saw: what went around the guard, "
        "what left although it refused it, what is by a process without a ledger, and "
        "what it let pass, but the kernel did not see.",
        epilog="exit status: 0 they agree, 1 they do not, 2 bad usage, or one of them "
        "does not have all",
    )
    sub.add_argument("evidence", metavar="EVIDENCE", type=file_name)
    sub.add_argument("ledger", metavar="LEDGER", nargs="+", type=file_name)
    sub.add_argument(
        "--format",
        choices=["text", "json"],
        default="text",
        help="how to print what is found (default: text)",
    )
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def add_install(add: Add, name: str) -> None:
    """Add the verb `install`."""
    sub = add(
        name,
        help="make an installation that only root can write",
        description="Install WHEEL, or the egressmon that runs, so that only root "
        "can write it, and root may run it. Uses sudo where it is not root.",
        epilog="exit status: 0 installed, or there already; 2 it could not be",
    )
    sub.add_argument("wheel", metavar="WHEEL", nargs="?", help="a wheel of egressmon")
    sub.add_argument("--quiet", action="store_true", help="say nothing but errors")
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def add_doctor(add: Add, name: str) -> None:
    """Add the verb `doctor`."""
    sub = add(
        name,
        help="what this machine can observe, and how to get what is missing",
        description="Say what this machine can observe, what is missing, and the "
        "command that gets it; and which layers the policy is enforced at here: the "
        "guard in an environment, the operating system's filter, this monitor.",
        epilog="exit status: 0 fine, 1 something is missing, or a layer that the "
        "policy asks for (layers.require), 2 bad usage",
    )
    sub.add_argument(
        "--policy",
        metavar="FILE",
        type=file_name,
        help="the policy of the layers (default: the one that watch would take)",
    )
    sub.add_argument(
        "--environment",
        metavar="DIR",
        type=file_name,
        help="the virtual environment of the guard (default: this command's)",
    )
    sub.add_argument(
        "--format",
        choices=["text", "json"],
        default="text",
        help="how to print what is found (default: text)",
    )
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def add_policy(add: Add, name: str) -> None:
    """Add the verb `policy`, with verbs of its own."""
    sub = add(
        name, help="check a policy file, ask what it says, or render it as a filter"
    )
    verbs = sub.add_subparsers(dest="policy_verb", metavar="COMMAND", required=True)
    from egressmon.cli import filter_options  # noqa: PLC0415 -- it imports this

    for verb in (
        _add_check(verbs.add_parser),
        _add_explain(verbs.add_parser),
        filter_options.add_nftables(verbs.add_parser),
        filter_options.add_pf(verbs.add_parser),
    ):
        verb.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_check(add: Add) -> argparse.ArgumentParser:
    check = add(
        "check",
        help="validate a policy file",
        description="Validate a policy file.",
        epilog=ANALYSIS_STATUSES,
    )
    check.add_argument("file", metavar="FILE", type=file_name)
    check.add_argument(
        "--strict", action="store_true", help="require a reason for every allow entry"
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
