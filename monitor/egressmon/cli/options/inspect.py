"""The options of `egressmon inspect`."""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.values import file_name


def add_inspect(add: Add, name: str) -> None:
    """Add the verb `inspect`."""
    sub = add(
        name,
        help="find native code that could open connections by itself",
        description="Say which installed packages have native code that could open "
        "connections by itself, past the sockets of Python or Node: by what it "
        "imports, calls and holds. Nothing of it is run.",
        epilog="exit status: 0 fine, 1 something is not in the policy's native.allow, "
        "2 bad usage, or something could not be inspected to its end",
    )
    sub.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        type=file_name,
        help="folders, such as node_modules, with all that is below them, or files "
        "(default: the virtual environment that is active, or the one egressmon is in)",
    )
    sub.add_argument(
        "--python",
        metavar="PATH",
        type=file_name,
        help="the environment of this interpreter, or the one in this folder",
    )
    sub.add_argument(
        "--policy",
        metavar="FILE",
        type=file_name,
        help="compare with native.allow of this policy",
    )
    _add_form(sub)
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def _add_form(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--format",
        dest="form",
        choices=["table", "json", "import-linter"],
        default="table",
        help="how to print it; import-linter: a configuration whose contract forbids "
        "to import what is not allowed (default: table)",
    )
    sub.add_argument(
        "--root-package",
        metavar="NAME",
        dest="roots",
        action="append",
        default=[],
        help="the package that the contract is for; can be repeated",
    )
