"""What the unit starts is root's alone, or nothing is installed."""

import sys
from pathlib import Path

import pytest

from egressmon.errors import PrivilegeError
from egressmon.services.launcher import find_launcher
from egressmon.startup import installed, ownership
from egressmon.startup.installed import Installation


def _none(_: str) -> str:
    return ""


@pytest.fixture
def opt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two installations in a folder that stands for /opt/egressmon, and the link."""
    for version in ("1", "2"):
        launcher = tmp_path / version / installed.LAUNCHER
        launcher.parent.mkdir(parents=True)
        launcher.write_text("#!/bin/sh\n")
        launcher.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / installed.LAUNCHER).symlink_to(f"../2/{installed.LAUNCHER}")
    monkeypatch.setattr(ownership, "obstacle", _none)
    monkeypatch.setattr(ownership, "obstacle_to_root", lambda: "")
    monkeypatch.setattr(installed, "place", lambda: tmp_path)
    monkeypatch.setattr(installed, "current", lambda: None)
    return tmp_path


def test_of_an_installation_it_is_the_link_that_later_ones_take_over(
    opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Installation(opt / "1", "0.1.0", "ab")
    monkeypatch.setattr(sys, "prefix", str(opt / "1"))
    monkeypatch.setattr(installed, "read", {opt / "1": found}.get)

    assert find_launcher() == str(opt / installed.LAUNCHER)


def test_of_an_environment_of_roots_it_is_its_own(
    opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(opt / "2"))
    monkeypatch.setattr(installed, "read", dict[Path, Installation]().get)

    assert find_launcher() == str(opt / "2" / installed.LAUNCHER)


def test_a_users_environment_hands_over_to_the_installation(
    opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Installation(opt / "2", "0.1.0", "ab")
    monkeypatch.setattr(sys, "prefix", str(opt / "nowhere"))
    monkeypatch.setattr(installed, "read", dict[Path, Installation]().get)
    monkeypatch.setattr(installed, "current", lambda: found)
    monkeypatch.setattr(ownership, "obstacle_to_root", lambda: "it is a user's")

    assert find_launcher() == str(opt / installed.LAUNCHER)


def test_where_all_is_a_users_there_is_nothing_to_start(
    opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(opt / "2"))
    monkeypatch.setattr(installed, "read", dict[Path, Installation]().get)
    monkeypatch.setattr(ownership, "obstacle_to_root", lambda: "/x belongs to uid 7")

    with pytest.raises(PrivilegeError, match="/x belongs to uid 7") as raised:
        find_launcher()

    assert "egressmon install" in raised.value.hint
