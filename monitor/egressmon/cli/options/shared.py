"""The options that several verbs have."""

import argparse

from egressmon.attribution import LEVELS
from egressmon.cli.options.values import digest, duration, file_name, size
from egressmon.probes.loaders.loading import CHOICES
from egressmon.runs.catch_up import DEFAULT_S as CATCH_UP_S
from egressmon.sanitise.argv_mode import ARGV_MODES

ANALYSIS_STATUSES = "exit status: 0 fine, 1 a finding, 2 bad usage or unreadable input"


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


def add_catch_up(sub: argparse.ArgumentParser) -> None:
    """Add the option for how long a run reads on at its end."""
    sub.add_argument(
        "--catch-up",
        metavar="DURATION",
        type=duration,
        default=f"{CATCH_UP_S:g}s",
        help="how long to go on reading when nothing runs any more; what is then left "
        "is counted, and makes the evidence incomplete (default: %(default)s)",
    )


def add_watching_options(sub: argparse.ArgumentParser) -> None:
    """Add the options for how it is watched, and what is found out."""
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
