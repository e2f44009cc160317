"""The ports of a policy's entry: numbers, ranges such as "8000-8100", or "any"."""

import re
from typing import TypeAlias, cast

from egressmon.policy.errors import RefusedError, quoted

Ports: TypeAlias = tuple[int | str, ...] | str
"""As the policy file has them: a list of numbers and ranges, or "any"."""

ANY = "any"
_MAX = 65535
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_HINT = 'write ports = [443, "8000-8100"], or ports = "any"'


def parse_ports(ports: object) -> tuple[tuple[int, int], ...]:
    """Return the ranges, both ends included, that `ports` (see Ports) name.

    Raises RefusedError.
    """
    if ports == ANY:
        return ((1, _MAX),)
    if type(ports) is int:
        raise RefusedError("a list is expected", f"write ports = [{ports}]")
    if not isinstance(ports, tuple):
        raise RefusedError("neither a list nor any", _HINT)
    if not ports:
        raise RefusedError("an empty list names no port", _HINT)
    listed = enumerate(cast("tuple[object, ...]", ports))
    return tuple(_range(index, port) for index, port in listed)


# Even strict, a number can be true.
def _range(index: int, port: object) -> tuple[int, int]:
    shown = quoted(port) if isinstance(port, str) else f"{port!r:.60}"
    if type(port) is int:
        low = high = port
    elif not isinstance(port, str):
        raise RefusedError(f"[{index}]: {shown} is no port", _HINT)
    elif match := _RANGE.fullmatch(port):
        low, high = int(match[1]), int(match[2])
    elif port.isdecimal():
        raise RefusedError(f"[{index}]: {shown} is a string", f"write {int(port)}")
    elif port in {"*", ANY}:
        raise RefusedError(
            f"[{index}]: {shown} is no port", f'for all ports write ports = "{ANY}"'
        )
    else:
        raise RefusedError(f"[{index}]: {shown} is no port", _HINT)
    if not 1 <= low <= high <= _MAX:
        raise RefusedError(
            f"[{index}]: {shown} is no port",
            f"ports are from 1 to {_MAX}, and ranges low-high",
        )
    return low, high
