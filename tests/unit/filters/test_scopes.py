"""Whose traffic: paths and users that a filter can name, and those that it cannot."""

from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.filters.scopes import MACHINE, cgroup_scope, scope_of

ROOT = Path("/sys/fs/cgroup")


@pytest.mark.parametrize(
    "path",
    [
        "system.slice/a.service",
        "/system.slice/a.service/",
        "/sys/fs/cgroup/system.slice/a.service",
    ],
)
def test_a_cgroup_is_named_by_its_folder_or_its_path(path: str) -> None:
    scope = cgroup_scope(path, ROOT)

    assert (scope.cgroup, scope.below) == ("system.slice/a.service", "")


def test_where_cgroup_v1_is_mounted_too_nft_looks_further_down() -> None:
    scope = cgroup_scope("job", Path("/sys/fs/cgroup/unified"))

    assert (scope.cgroup, scope.below) == ("job", "unified")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "..",
        "a/../b",
        "a//b",
        'a" accept',
        "a\nb",
        "a;b",
        "a{b",
        "a*",
        "ä",
        "a/./b",
    ],
)
def test_what_is_no_cgroup_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="no cgroup that a filter can name"):
        cgroup_scope(path, ROOT)


def test_a_user_is_named_by_name_or_number() -> None:
    assert scope_of(None, "root").uid == 0
    assert scope_of(None, "64321").uid == 64321
    assert scope_of(None, None) == MACHINE


@pytest.mark.parametrize("user", ["", "no such user", "4294967295", "-1", "0 accept"])
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(UsageError, match="--uid"):
        scope_of(None, user)


def test_what_passes_a_scope_by_is_said() -> None:
    assert "set-uid" in str(scope_of(None, "0").notes()[0])
    assert "until --refresh" in str(cgroup_scope("job", ROOT).notes()[0])
    assert MACHINE.notes() == ()
