"""What options have as values: durations, sizes, names of files, digests."""

import argparse
import re

from egressmon import clock

_SIZE = re.compile(r"(\d{1,9})(kB|MB|GB)?", re.ASCII)
_POWERS = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, None: 1}
_DIGEST = re.compile(r"(?:sha256:)?([0-9A-Fa-f]{64})")


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


def runs(text: str) -> int:
    """Return the number of runs that `text` says, from 1 to 99."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 99:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number from 1 to 99")
    return int(text)
