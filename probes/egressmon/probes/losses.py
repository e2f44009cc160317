"""What the probes lost or missed, as they and the kernel count it."""

from egressmon.probes.frames import FrameProbes
from egressmon.probes.hooks import FOUND_CGROUPS, LIFE, START
from egressmon.probes.loaded import Loaded
from egressmon.probes.wire import CONSTANTS

_COUNTERS = {
    name.removeprefix("COUNT_").lower(): slot
    for name, slot in CONSTANTS.items()
    if name.startswith("COUNT_") and name != "COUNT_SLOTS"
}


def counters(
    loaded: Loaded, frames: FrameProbes | None, *, watches_cgroups: bool
) -> dict[str, int]:
    """Return the counters of losses by name (`lost_*`, `missed_*`).

    `watches_cgroups` says whether it is observed which cgroups come and go.
    """
    totals = loaded.totals("counters", CONSTANTS["COUNT_SLOTS"])
    counted = {name: totals[slot][0] for name, slot in _COUNTERS.items()}
    # Both programs of a pair emit the same event, so it is lost only if both were
    # skipped: the smaller count is a bound.
    skipped = loaded.skipped()
    counted["lost_skipped"] = sum(
        min(one or 0 for one in both) for both in _of_pairs(skipped)
    )
    if watches_cgroups:
        counted["missed_cgroup"] += sum(
            skipped[hook.program] or 0 for hook in FOUND_CGROUPS
        )
    if frames is not None:
        starts = frames.loaded.skipped()[START.program]
        counted["missed_frames"] += starts or 0
    return counted


def counts_skipped(loaded: Loaded) -> bool:
    """Tell whether the kernel counts how often it skipped a probe (since 5.12)."""
    return all(None not in both for both in _of_pairs(loaded.skipped()))


# Skips of the programs of each pair. The kernel never skips cgroup programs.
def _of_pairs(skipped: dict[str, int | None]) -> list[list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for hook in LIFE:
        told = hook.program.removesuffix("_second")
        found.setdefault(told, []).append(skipped[hook.program])
    return list(found.values())
