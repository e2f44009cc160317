"""Compare what several runs did."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet


def differences(found: Mapping[int, AbstractSet[str]]) -> list[str]:
    """Return what not all runs have, a line each; `found` is by the run's number."""
    everything = sorted(set[str]().union(*found.values()))
    lines: list[str] = []
    for one in everything:
        having = [number for number, values in found.items() if one in values]
        if len(having) < len(found):
            runs = ", ".join(map(str, having))
            lines.append(f"{one}: only in run {runs}")
    return lines
