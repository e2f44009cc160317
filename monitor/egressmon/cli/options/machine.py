"""The options of the verbs that are about this machine."""

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.values import file_name


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
