"""The figures as two tables in Markdown."""

from collections.abc import Iterable, Sequence

from results import Result

_COST = (
    *("suite", "tests", "CPU bare", "watched", "ratio", "less start-up"),
    *("wall ratio", "others' cores"),
)
_TRUTH = (
    *("suite", "passed, failed, skipped", "changed", "connects", "missing"),
    *("compared", "tests right", "stacks right"),
)


def tables(results: Sequence[Result]) -> str:
    """Return what the runs cost, what the evidence says, and what is wrong in it."""
    parts = [table(_COST, map(_cost, results)), table(_TRUTH, map(_truth, results))]
    parts += [line for one in results for line in notes(one)]
    return "\n\n".join(parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cost(one: Result) -> list[str]:
    return [
        f"{one.suite} {one.version}",
        str(sum(one.bare.values())),
        f"{one.cpu_s[0]:.1f} s",
        f"{one.cpu_s[1]:.1f} s",
        f"**{one.cpu_ratio:.2f}x**",
        f"{one.cpu_ratio_of_running:.2f}x",
        f"{one.wall_ratio:.2f}x",
        f"{one.others:.1f}{' (busy)' if one.busy else ''}",
    ]


def _truth(one: Result) -> list[str]:
    bare, watched = (
        ", ".join(str(number) for number in counts.values())
        for counts in (one.bare, one.watched)
    )
    return [
        f"{one.suite} {one.version}",
        bare if bare == watched else f"{bare}; watched {watched}",
        str(len(one.changed)),
        f"{one.straced:,}",
        str(len(one.missing)),
        f"{one.compared:,}",
        f"{one.tests_right:,}",
        f"{one.stacks:,}",
    ]


def notes(one: Result) -> list[str]:
    """Return a line for each thing that a reader should look at."""
    found: dict[str, Sequence[object]] = {
        "ended otherwise when watched": one.changed,
        "did not end alike in all bare runs": one.unsteady,
        "no evidence of connects (thread, address, port)": one.missing,
        "peers elsewhere": one.elsewhere,
    }
    lines = [
        f"{one.suite}: {what}: {list(have)}" for what, have in found.items() if have
    ]
    if not one.complete:
        lines.append(f"{one.suite}: the evidence is incomplete")
    lines += [f"{one.suite}: not right: {difference}" for difference in one.differences]
    return lines
