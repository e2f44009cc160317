"""A sidecar that is started again goes on: what was in between is in its evidence."""

import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from egressmon.probes.kernel import bpf, objects
from egressmon.probes.loaders import kept
from egressmon.sidecar.store import NAME
from support.lab import Lab
from support.managers import Manager, manager
from support.sidecars import Json, Sidecar, cgroup, inside

TIMES = 20
CONNECT = "for port in $(seq 4001 {last}); do : > /dev/tcp/10.213.7.2/$port; done; true"
# As many as the ring of connections cannot hold.
MANY = """
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(28000):
    one.sendto(b"", ("10.213.7.2", 5000 + number))
"""
CALL = """
import socket
def reach():
    with socket.socket() as one:
        one.connect_ex(("10.213.7.2", {port}))
reach()
"""
_LINK_GET_FD_BY_ID, _LINK_DETACH = 30, 34


@pytest.fixture
def watched() -> Generator[Path]:
    with cgroup() as path:
        yield path


@pytest.fixture
def service(aside: Sidecar, watched: Path) -> Generator[Manager]:
    with manager(aside, "--cgroup", str(watched)) as one:
        yield one


def connect(network: Lab, watched: Path, times: int = TIMES) -> None:
    """Connect so often, each time to another port, from the cgroup."""
    script = CONNECT.format(last=4000 + times)
    words = [*network.enter(), *inside(watched, "bash", "-c", script)]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)


def ports(one: Sidecar) -> list[int]:
    return sorted(found["dst"]["port"] for found in one.reached(ip="10.213.7.2"))


def beats(one: Sidecar) -> int:
    return sum(file.read_bytes().count(b'"heartbeat"') for file in one.segments())


def of(records: list[Json], kind: str) -> list[Json]:
    return [one for one in records if one["type"] == kind]


def name_of(descriptor: int) -> bytes:
    is_map = objects.kind_of(descriptor) == "map"
    return objects.map_facts(descriptor).name if is_map else b""


def facts_of(service: Manager) -> int:
    """Return the map that says what the others are."""
    return next(one for _, one in service.store if name_of(one) == kept.FACTS)


def change_facts(service: Manager, place: int, data: bytes) -> None:
    table = facts_of(service)
    facts = bytearray(bpf.lookup(table, bytes(4), 4096))
    facts[place : place + len(data)] = data
    bpf.update(table, bytes(4), bytes(facts))


def mark_nothing(descriptor: int) -> None:
    """Have nothing in a ring done with, if it is one."""
    if name_of(descriptor) in {b"events", b"life", b"lookups", b"calls"}:
        with mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_SHARED) as own:
            own[8:16] = bytes(8)


@pytest.mark.smoke
def test_what_is_connected_after_a_kill_is_in_the_next_run(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    killed = aside.started["run"]
    service.kill()
    connect(network, watched)
    service.start()
    status = service.stop()

    records = aside.records()
    (restart,) = of(records, "restart")
    assert of(records, "gap") == []
    assert (restart["before"], restart["ended"]) == (killed, False)
    assert restart["waiting"] >= TIMES
    assert (restart["losses"], restart["doubt"]) == ({}, False)
    assert ports(aside) == [*range(4001, 4001 + TIMES)]
    assert status == 0
    assert service.store == []
    (found,) = aside.verify().found
    assert found.kind == "truncated"  # of the one that was killed
    assert killed in found.path
    (remark,) = (one.remarks for one in aside.verify().files if one.run == killed)
    assert remark == [f"the run {aside.started['run']} follows it, and names its end"]
    for one in (aside.folder / "evidence").glob(f"{killed}-*"):
        one.unlink()
    (alone,) = aside.verify().files
    wanted = f"it goes on from the run {killed}, whose evidence is not here"
    assert wanted in alone.remarks


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_cut_off_of_the_run_before_is_found(
    aside: Sidecar, service: Manager, count: int
) -> None:
    service.start()
    last = aside.segments()[-1]
    service.kill()
    service.start()
    service.stop()
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(lines[:-count]))

    messages = [one.message for one in aside.verify().found if str(last) == one.path]
    what = (
        f"the run {aside.started['run']} follows it, and names another last line of it"
    )
    assert what in messages


@pytest.mark.smoke
def test_what_is_connected_between_two_runs_in_order_is_in_the_second(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    first = aside.started["run"]
    service.end()
    connect(network, watched)
    service.start()
    status = service.stop()

    (restart,) = of(aside.records(), "restart")
    assert service.answer["follows"] == first
    assert (restart["before"], restart["ended"]) == (first, True)
    assert (restart["doubt"], restart["again"]) == (False, 0)
    assert ports(aside) == [*range(4001, 4001 + TIMES)]
    assert status == 0


def test_a_third_run_goes_on_from_the_second(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    service.kill()
    service.start()
    second = aside.started["run"]
    kept = len(service.store)
    service.kill()
    connect(network, watched)
    service.start()
    status = service.stop()

    (restart,) = of(aside.records(), "restart")
    assert restart["before"] == second
    assert restart["before_head"] is not None
    assert ports(aside) == [*range(4001, 4001 + TIMES)]
    assert (status, service.store) == (0, [])
    assert kept > 0


def test_what_was_read_and_not_recorded_is_read_again(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    connect(network, watched, 5)
    while len(ports(aside)) < 5:
        pass
    service.kill()
    for _, one in service.store:
        mark_nothing(one)
    service.start()
    status = service.stop()

    (restart,) = of(aside.records(), "restart")
    assert restart["again"] >= 5
    assert ports(aside) == [*range(4001, 4006)]
    # Whoever has this run's verdict alone must not take it for that of both.
    assert restart["violations"] == 5
    assert status == 121


def test_what_a_full_ring_lost_is_said(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    service.kill()
    words = [sys.executable, "-I", "-c", MANY]
    subprocess.run([*network.enter(), *inside(watched, *words)], check=True)
    service.start()
    status = service.stop()

    (restart,) = of(aside.records(), "restart")
    assert restart["losses"].get("lost_flow", 0) > 0
    assert restart["doubt"]
    assert "lost_flow" in restart["reason"]
    assert status == 121


@pytest.mark.long
def test_losses_of_the_run_before_are_not_those_of_the_next(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    service.kill()
    words = [sys.executable, "-I", "-c", MANY]
    subprocess.run([*network.enter(), *inside(watched, *words)], check=True)
    service.start()
    seen = beats(aside)
    while beats(aside) < seen + 30:  # 3 s: it asks each 1 s
        pass
    service.end()
    service.start()
    status = service.stop()

    (restart,) = of(aside.records(), "restart")
    assert restart["losses"] == {}
    assert restart["doubted"] is True  # the run before says so itself
    assert status == 121


def another_version(service: Manager) -> None:
    change_facts(service, 16, bytes(32))


def another_boot(service: Manager) -> None:
    change_facts(service, 48, b"0" * 36)


def no_run(service: Manager) -> None:
    change_facts(service, 116, b"\x1b[2J")


def another_kind(service: Manager) -> None:
    read, write = os.pipe()
    os.close(write)
    service.store.append((NAME, read))


def one_less(service: Manager) -> None:
    place = next(
        place
        for place, (_, one) in enumerate(service.store)
        if objects.kind_of(one) == "link"
    )
    os.close(service.store.pop(place)[1])


def no_facts(service: Manager) -> None:
    table = facts_of(service)
    service.store = [one for one in service.store if one[1] != table]
    os.close(table)


def two_facts(service: Manager) -> None:
    service.store.append((NAME, objects.make_array(kept.FACTS, 4096, 2)))


def another_size(service: Manager) -> None:
    """Have a small map said to be the ring of connections."""
    ring = next(one for _, one in service.store if name_of(one) == b"events")
    small = objects.make_array(b"events", 8, 1)
    facts = bpf.lookup(facts_of(service), bytes(4), 4096)
    old, new = (struct.pack("=I", objects.map_facts(one).id) for one in (ring, small))
    place = facts.index(old, 180)
    change_facts(service, place, new)
    service.store.append((NAME, small))


def another_program(service: Manager) -> None:
    """Have one program said to be another one."""
    facts = bpf.lookup(facts_of(service), bytes(4), 4096)
    change_facts(service, 180, facts[184:188])


def too_many(service: Manager) -> None:
    service.store += [(NAME, os.dup(facts_of(service))) for _ in range(200)]


def link_of(service: Manager) -> int:
    """Return the id of a link that is kept."""
    links = (one for _, one in service.store if objects.kind_of(one) == "link")
    return objects.link_facts(next(links)).id


def wait_until_gone(link: int) -> None:
    """Wait until nobody has the link with this id."""
    while True:
        try:
            os.close(bpf.call(_LINK_GET_FD_BY_ID, struct.pack("=II", link, 0)))
        except FileNotFoundError:
            return


@pytest.mark.parametrize(
    ("do", "why"),
    [
        (another_version, "the probes, or their events, are of another version"),
        (another_boot, "they are of another boot of the machine"),
        (no_run, "it is not said of which run they are"),
        (another_kind, "something else than maps, programs and links"),
        (one_less, "one is missing: the link"),
        (no_facts, "0 of them say what the others are"),
        (two_facts, "2 of them say what the others are"),
        (another_size, "the map events is of another kind or size"),
        (another_program, "attaches another program"),
        (too_many, "there are 254 of them"),
    ],
)
def test_what_does_not_fit_is_a_gap(
    aside: Sidecar, service: Manager, do: Callable[[Manager], None], why: str
) -> None:
    service.start()
    killed, link = aside.started["run"], link_of(service)
    service.kill()
    do(service)
    service.start()
    wait_until_gone(link)
    status = service.stop()

    records = aside.records()
    (gap,) = of(records, "gap")
    assert of(records, "restart") == []
    assert why in gap["reason"]
    assert (gap["before"], gap["doubt"]) == (killed, True)
    assert (status, service.store) == (121, [])


def test_another_scope_is_a_gap(aside: Sidecar, service: Manager) -> None:
    service.start()
    service.end()
    with cgroup() as other:
        service.watch("--cgroup", str(other))
        service.start()
        assert service.stop() == 121

    (gap,) = of(aside.records(), "gap")
    assert "something else was watched" in gap["reason"]


def test_other_names_are_not_looked_at(aside: Sidecar, service: Manager) -> None:
    service.start()
    service.kill()
    service.start(names=["other"] * len(service.store))
    status = service.stop()

    (gap,) = of(aside.records(), "gap")
    assert gap["reason"] == "the run before did not end: it was killed"
    assert status == 121


def test_a_detached_probe_is_a_gap(aside: Sidecar, service: Manager) -> None:
    service.start()
    service.kill()
    for _, one in service.store:
        if objects.kind_of(one) == "link" and objects.link_facts(one).cgroup:
            bpf.call(_LINK_DETACH, struct.pack("=I", one))
            break
    service.start()
    status = service.stop()

    (gap,) = of(aside.records(), "gap")
    assert "was detached meanwhile" in gap["reason"]
    assert status == 121


@pytest.mark.smoke
def test_a_killed_one_leaves_nothing_that_the_next_does_not_remove(
    watched: Path, service: Manager
) -> None:
    service.start()
    service.kill()
    for left in watched.glob("egressmon-*"):
        while "populated 1" in (left / "cgroup.events").read_text():
            pass
    service.start()
    assert len([*watched.glob("egressmon-*")]) == 1
    service.stop()
    assert [*watched.glob("egressmon-*")] == []


def test_python_code_is_known_again_after_a_restart(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    def call(port: int) -> None:
        script = CALL.format(port=port)
        words = [sys.executable, "-I", "-c", script]
        subprocess.run([*network.enter(), *inside(watched, *words)], check=True)

    service.start()
    call(4001)
    service.kill()
    call(4002)
    service.start()
    call(4003)
    status = service.stop()

    (dead,) = aside.reached(port=4002)
    (after,) = aside.reached(port=4003)
    assert dead["code_status"] == "known", dead["code_reason"]
    assert dead["process"]["exe"] == after["process"]["exe"]
    assert after["code_status"] == "known", after["code_reason"]
    assert status == 0


def test_a_process_that_began_before_and_ended_meanwhile_is_known_by_its_name(
    network: Lab, watched: Path, aside: Sidecar, service: Manager
) -> None:
    service.start()
    script = "echo; read line; : > /dev/tcp/10.213.7.2/4001"
    words = [*network.enter(), *inside(watched, "bash", "-c", script)]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as waits:
        assert waits.stdout is not None
        waits.stdout.readline()
        while pid_of(waits.pid, aside) is None:
            pass
        service.kill()
        waits.communicate("go\n")
    service.start()
    status = service.stop()

    (found,) = aside.reached(port=4001)
    actor = found["process"]
    assert (actor["comm"], actor["exe"]) == ("bash", None)
    assert found["process_reason"]
    assert found["origin"] is None
    assert status == 0


def pid_of(pid: int, one: Sidecar) -> Json | None:
    """Return the record that a process has executed bash, once it is there."""
    found = (line for line in of(one.records(), "process") if line["comm"] == "bash")
    return next((line for line in found if line["pid"] == pid), None)
