"""What the options of a sidecar have as values."""

import argparse
from typing import TYPE_CHECKING

from egressmon.cli.options.values import duration, size

if TYPE_CHECKING:
    from egressmon.containers.wanted import Wanted

_LEAST_BYTES, _LEAST_S = 4000, 1.0
"""Of a segment: each has what its records refer to again, and one lasts."""


def container(text: str) -> "Wanted":
    """Return the container that `text` names."""
    from egressmon.containers.wanted import (  # noqa: PLC0415 -- for this option alone
        wanted_of,
    )

    try:
        return wanted_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def pid(text: str) -> int:
    """Return the id of a process that `text` says."""
    if not text.isascii() or not text.isdecimal() or int(text) >= 1 << 22:
        raise argparse.ArgumentTypeError(f"{text!r}: write the number of a process")
    return int(text)


def segment_size(text: str) -> int:
    """Return the bytes of a segment: not too few."""
    if (found := size(text)) < _LEAST_BYTES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write {_LEAST_BYTES // 1000}kB or more"
        )
    return found


def segment_age(text: str) -> float:
    """Return the seconds that a segment lasts: not too few."""
    if (found := duration(text)) < _LEAST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: write {_LEAST_S:g}s or more")
    return found


def engine_socket(text: str) -> tuple[str, str]:
    """Return the engine and the path in `text`, such as docker=/run/docker.sock."""
    engine, _, path = text.partition("=")
    if engine not in {"docker", "podman"} or not path.startswith("/"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: write docker=PATH or podman=PATH, with a path from the root"
        )
    return engine, path


def ids(text: str) -> tuple[int, int]:
    """Return the user's and the group's id in `text`, such as 0:0."""
    user, _, group = text.partition(":")
    return int(user), int(group)
