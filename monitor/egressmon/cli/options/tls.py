"""The options of `egressmon tls`."""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.options.values import duration, file_name

EXPIRES_WITHIN = 14
"""As in tls/findings.py, which is not imported for `--help`."""
_MOST_DAYS = 3650
_LONGEST_S = 300


def add_tls(add: Add, name: str) -> None:
    """Add the verb `tls`."""
    sub = add(
        name,
        help="shake hands with named hosts, and record their certificates",
        description="Connect to each HOST:PORT, shake hands, and say what the server "
        "has: issuers, names, validity, protocol, cipher, ALPN, OCSP staple. Nothing "
        "is sent after the handshake. A certificate that does not validate is a "
        "finding, and recorded all the same.",
        epilog="exit status: 0 fine, 1 a finding, 2 bad usage, or of a host nothing is "
        "known",
        usage=f"egressmon {name} [OPTIONS] (HOST:PORT... | --policy FILE --allowed)",
    )
    sub.add_argument("hosts", metavar="HOST:PORT", nargs="*")
    sub.add_argument(
        "--policy", metavar="FILE", type=file_name, help="the policy of --allowed"
    )
    sub.add_argument(
        "--allowed",
        action="store_true",
        help="connect to each host that the policy allows by its exact name; what "
        "names no one host, such as a wildcard, is said",
    )
    sub.add_argument(
        "--format",
        dest="form",
        choices=["table", "json", "markdown", "github"],
        default="table",
        help="how to print what is found; github: with annotations (default: table)",
    )
    add_handshake_options(sub)
    sub.add_argument("--verbose", action="store_true", help="show tracebacks")


def add_handshake_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of whatever shakes hands."""
    sub.add_argument(
        "--ca-file",
        metavar="FILE",
        type=file_name,
        help="trust the certificates in FILE (PEM), in place of the system's",
    )
    sub.add_argument(
        "--expires-within",
        metavar="DAYS",
        type=_days,
        default=EXPIRES_WITHIN,
        help="tell of certificates that end within DAYS; of short ones, when a third "
        "of their time is left (default: %(default)s)",
    )
    sub.add_argument(
        "--connect-timeout",
        metavar="DURATION",
        type=_timeout,
        default=5.0,
        help="how long to wait for a host's name, and for each of its addresses "
        "(default: 5s)",
    )
    sub.add_argument(
        "--handshake-timeout",
        metavar="DURATION",
        type=_timeout,
        default=10.0,
        help="how long one handshake may take (default: 10s)",
    )


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r}: write 0 to {_MOST_DAYS}")
    return int(text[:6])


def _timeout(text: str) -> float:
    seconds = duration(text)
    if not 0 < seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: write more than 0s, up to 5m")
    return seconds
