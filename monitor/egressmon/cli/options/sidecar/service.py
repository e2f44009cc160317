"""The options of `egressmon sidecar install-service`."""

import argparse


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Add the options of `install-service` to the command line."""
    sub.add_argument(
        "--root",
        metavar="DIR",
        default="/",
        help="write below DIR, the root folder of an image (default: /)",
    )
    sub.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy's absolute path, which only root may be able to write "
        "(default: none, everything is reported)",
    )
    sub.add_argument(
        "--print", action="store_true", help="print the unit, and write nothing"
    )
    sub.add_argument(
        "--enable", action="store_true", help="have it started at each boot"
    )
    sub.add_argument(
        "--force", action="store_true", help="replace a unit that somebody changed"
    )
