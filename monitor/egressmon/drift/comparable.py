"""Tell why runs cannot be compared: what would only look like drift, or like none."""

from collections.abc import Iterator

from egressmon.drift.model import Content, Surface


def why_not_one(surface: Surface) -> list[str]:
    """Return why the runs of `surface` are no one surface; none: they are."""
    return [*surface.problems, *_mixed(surface)]


def _mixed(surface: Surface) -> Iterator[str]:
    policies = sorted(surface.facts.get("policies", {}))
    if len(policies) > 1:
        told = ", ".join(_with_run(surface, one) for one in policies[:4])
        more = f", and {len(policies) - 4} more" if len(policies) > 4 else ""
        yield f"two policies: {told}{more}; give runs of one policy"
    levels = sorted(surface.facts.get("attribution", {}))
    if len(levels) > 1:
        yield f"the runs attribute differently: {', '.join(levels)}"


def _with_run(surface: Surface, policy: str) -> str:
    seen = surface.facts["policies"][policy]
    return f"{policy} in run {surface.runs[seen.first].name}"


def is_empty(content: Content) -> bool:
    """Tell whether nothing left the machine, or tried to."""
    return not content.items and not content.facts.get("listeners")


def why_not_both(
    baseline: Content, surface: Surface, current: str | None
) -> Iterator[str]:
    """Yield why `surface` is not comparable with `baseline`.

    `current` is the digest of the policy that holds now: what was judged by it is as it
    should be, whatever the baseline was judged by.
    """
    found = surface.plain()
    if is_empty(found) and not is_empty(baseline):
        yield "an empty run: it connected to nothing, and looked nothing up"
    levels = found.facts.get("attribution", ()), baseline.facts.get("attribution", ())
    if levels[0] != levels[1] and all(levels):
        yield (
            f"what is known of callers differs: attribution {', '.join(levels[0])}, "
            f"and {', '.join(levels[1])} in the baseline"
        )
    policies = found.facts.get("policies", ())
    others = sorted({*policies} - {*baseline.facts.get("policies", ())} - {current})
    if others and baseline.facts.get("policies"):
        yield (
            f"judged by another policy: {', '.join(others[:3])}; the baseline's is "
            f"{', '.join(baseline.facts['policies'][:3])} (--policy FILE names the one "
            "that holds now)"
        )
