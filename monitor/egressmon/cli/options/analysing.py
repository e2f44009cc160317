"""The options of the verbs that read what runs have left."""

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.shared import ANALYSIS_STATUSES
from egressmon.cli.options.values import file_name


def add_report(add: Add, name: str) -> None:
    """Add the verb `report`."""
    sub = add(
        name,
        help="show evidence in another form",
        description="Print each record of EVIDENCE as a line of JSON, with all that it "
        "refers to in its place; or a Statement about it that can be signed; or an "
        "inventory for a review.",
        epilog=ANALYSIS_STATUSES,
    )
    sub.add_argument("evidence", metavar="EVIDENCE", nargs="+", type=file_name)
    sub.add_argument(
        "--format",
        choices=["json", "in-toto", "surfaces"],
        default="json",
        help="json: the records; in-toto: a Statement with a runtime trace, of what "
        "verifies, a file or a directory; surfaces: an inventory of all that was "
        "reached, in Markdown, of files or directories together (default: json)",
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
