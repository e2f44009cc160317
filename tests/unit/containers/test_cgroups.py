"""Cgroups by their ids: found, made, removed, and never too many."""

from pathlib import Path

from egressmon.containers import cgroups
from egressmon.containers.cgroups import MAX_CGROUPS, MAX_GONE, Cgroup, Cgroups, walk
from egressmon.events.model import CgroupChanged


def made(number: int, path: str, uid: int = 0) -> CgroupChanged:
    return CgroupChanged(1, 1, number, is_made=True, path=path, uid=uid, is_cut=False)


def removed(number: int) -> CgroupChanged:
    return CgroupChanged(2, 1, number, is_made=False, path="/x", uid=0, is_cut=False)


def test_one_that_is_made_is_known_and_stays_so_for_a_while() -> None:
    known = Cgroups([Cgroup(1, "/", 0)])
    known.on_change(made(5, "/docker/x", 7))
    known.on_change(removed(5))

    assert known.lookup(5) == Cgroup(5, "/docker/x", 7)
    assert known.lookup(1) == Cgroup(1, "/", 0)
    assert known.lookup(6) is None


def test_a_path_leads_to_the_newest_that_had_it() -> None:
    known = Cgroups()
    for number in (5, 6):
        known.on_change(made(number, "/a"))
    known.on_change(removed(5))

    assert known.at("/a") == Cgroup(6, "/a", 0)
    assert known.at("/b") is None


def test_a_path_that_was_cut_is_no_path() -> None:
    known = Cgroups()
    known.on_change(CgroupChanged(1, 1, 5, is_made=True, path="/a", uid=0, is_cut=True))

    assert known.lookup(5) is None


def test_those_that_are_gone_are_forgotten_first() -> None:
    known = Cgroups([Cgroup(1, "/", 0)])
    for number in range(2, MAX_GONE + 100):
        known.on_change(made(number, f"/{number}"))
        known.on_change(removed(number))

    assert len(known) == MAX_GONE + 1
    assert known.lookup(1) is not None
    assert known.lookup(2) is None
    assert known.at("/2") is None
    assert known.dropped == 0


def test_too_many_that_are_there_are_dropped_and_counted() -> None:
    known = Cgroups(Cgroup(one, f"/{one}", 0) for one in range(MAX_CGROUPS + 3))

    assert len(known) == MAX_CGROUPS
    assert known.dropped == 3


def test_a_walk_finds_what_is_there_from_the_top(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/")

    found = walk(str(tmp_path))

    assert [one.path for one in found] == ["/", "/a", "/a/b"]
    assert found[2].id == (tmp_path / "a/b").stat().st_ino
    assert len(walk(str(tmp_path), 2)) == 2


def test_a_name_of_any_bytes_is_survived(tmp_path: Path) -> None:
    (tmp_path / "a\nb").mkdir()
    (tmp_path / b"\xff".decode(errors="surrogateescape")).mkdir()

    assert len(cgroups.walk(str(tmp_path))) == 3
