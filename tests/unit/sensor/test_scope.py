"""The cgroup v2 hierarchy is found, however it is mounted."""

from pathlib import Path

import pytest

from egressmon.errors import ScopeError
from egressmon.sensor.scope import cgroup_root, own_cgroup

UNIFIED = (
    "26 25 0:24 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
)
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
PARTIAL = "50 40 0:38 /system.slice /mnt/part rw - cgroup2 cgroup2 rw\n"
SPACE = r"50 40 0:38 / /mnt/with\040space rw - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("mountinfo", "root"),
    [
        (UNIFIED, "/sys/fs/cgroup"),
        (HYBRID, "/sys/fs/cgroup/unified"),
        (PARTIAL, "/mnt/part"),
        (PARTIAL + UNIFIED, "/sys/fs/cgroup"),
        (SPACE, "/mnt/with space"),
    ],
)
def test_the_hierarchy_is_found(mountinfo: str, root: str) -> None:
    assert cgroup_root(mountinfo) == Path(root)


@pytest.mark.parametrize("mountinfo", ["", "nonsense", "1 2 3 4 5 - cgroup cgroup rw"])
def test_without_one_there_is_a_remedy(mountinfo: str) -> None:
    with pytest.raises(ScopeError, match=r"no cgroup v2") as caught:
        cgroup_root(mountinfo)

    assert "mount -t cgroup2" in caught.value.hint


def test_the_own_cgroup_is_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "user.slice/shell").mkdir(parents=True)

    inside = own_cgroup(tmp_path, "9:cpu:/x\n0::/user.slice/shell\n")

    assert inside == tmp_path / "user.slice/shell"
    assert own_cgroup(tmp_path, "0::/../../elsewhere\n") == tmp_path
    assert own_cgroup(tmp_path, "0::/gone\n") == tmp_path
    assert own_cgroup(tmp_path, "1:cpu:/\n") == tmp_path
