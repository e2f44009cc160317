"""What killed runs left behind is removed, and nothing of others'."""

from egressmon.sensor.scope import sweep
from support.sidecars import cgroup

NOBODY = 4_194_305
"""Above PID_MAX_LIMIT (include/linux/threads.h)."""


def test_only_the_cgroups_of_killed_runs_are_removed() -> None:
    with cgroup() as parent:
        left = parent / f"egressmon-{NOBODY}-00ab34cd"
        names = ("nightly.slice", f"test-filter-{NOBODY}", f"{NOBODY}-tools")
        others = [parent / f"egressmon-{name}" for name in names]
        for one in (left, *others):
            one.mkdir()
            (one / "inside").mkdir()

        sweep(parent)

        assert not left.exists()
        assert all((one / "inside").exists() for one in others)
