"""The kernel's account of mappings: what it tells, and that its losses are counted."""

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.attribution.native.memory.address_spaces import AddressSpaces
from egressmon.probes.kernel import sideband
from egressmon.probes.kernel.sideband import Executed, Forked, Mapped, SideBand
from egressmon.sensor.scope import Scope, make_scope

pytestmark = pytest.mark.usefixtures("can_load")


@pytest.fixture
def scope() -> Generator[Scope]:
    made = make_scope()
    yield made
    made.remove()


def run_in(scope: Scope, *command: str) -> int:
    """Run command in scope, and return the id that it had."""
    enter = f'echo $$ >{scope.path}/cgroup.procs; exec "$@"'
    process = subprocess.Popen(["sh", "-c", enter, "sh", *command])
    assert process.wait() == 0
    return process.pid


@pytest.mark.smoke
def test_a_program_that_is_gone_is_told_of(scope: Scope) -> None:
    band = SideBand(scope.fd)

    pid = run_in(scope, "/bin/true")

    records = band.read()
    assert Executed in {type(one) for one in records if one.pid == pid}
    mapped = [one for one in records if isinstance(one, Mapped) and one.pid == pid]
    names = {one.path.rpartition(b"/")[2] for one in mapped}
    assert b"true" in names
    assert b"libc.so.6" in names
    assert all(one.device and one.inode for one in mapped if one.path[:1] == b"/")
    spaces = AddressSpaces()
    spaces.retain(pid)
    spaces.push(records)
    spaces.advance_to(1 << 62)
    space = spaces.get(pid)
    assert space is not None
    assert space.program is not None
    assert space.program.path.endswith(b"/true")
    band.close()


def test_children_are_told_of_and_others_are_not(scope: Scope) -> None:
    band = SideBand(scope.fd)
    outside = subprocess.Popen(["/bin/true"])
    outside.wait()

    pid = run_in(scope, "sh", "-c", "/bin/true; /bin/true")

    records = band.read()
    children = {one.pid for one in records if isinstance(one, Forked)}
    told = {one.pid for one in records}
    if band.whole_machine:
        assert {pid, outside.pid} < told
    else:
        assert len(children) == 2
        assert told == {pid, *children}
    band.close()


def test_what_does_not_fit_is_counted(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sideband, "_PAGES", 1)
    band = SideBand(scope.fd)
    run_in(scope, "sh", "-c", "for i in $(seq 100); do /bin/true; done")
    band.read()

    # The kernel tells of a CPU's losses with that CPU's next record.
    for cpu in os.sched_getaffinity(0):
        run_in(scope, "taskset", "-c", str(cpu), "/bin/true")
    band.read()

    assert band.lost > 0
    band.close()


# As if a CPU had come online: this machine's own must stay as they are.
def test_what_is_mapped_on_a_cpu_that_comes_later_counts_as_lost(
    scope: Scope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    online = tmp_path / "online"
    first = Path("/sys/devices/system/cpu/online").read_text().strip()
    online.write_text(f"{first}\n")
    monkeypatch.setattr(sideband, "_ONLINE", online)
    band = SideBand(scope.fd)
    band.read()
    assert band.lost == 0

    online.write_text(f"{first},4094-4095\n")
    band.read()
    band.read()

    assert band.lost == 4
    band.close()


def test_a_cpu_that_was_offline_has_no_ring_any_more(
    scope: Scope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    online = tmp_path / "online"
    first = Path("/sys/devices/system/cpu/online").read_text()
    online.write_text(first)
    monkeypatch.setattr(sideband, "_ONLINE", online)
    band = SideBand(scope.fd)

    online.write_text("4095\n")
    band.read()
    online.write_text(first)
    before = band.lost
    band.read()

    assert band.lost - before == len(sideband.parse_cpus(first))
    band.close()
