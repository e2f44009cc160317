"""The probes' members whose process is gone are removed from the kernel's map."""

import os
import struct
import subprocess
from collections.abc import Generator

import pytest

from egressmon import host
from egressmon.keeping.lineage import Lineage
from egressmon.probes.kernel import bpf
from egressmon.probes.loaded import Loaded
from egressmon.probes.loaders.loading import load

NOBODY = 2**22 + 1
"""Above the highest pid there can be (PID_MAX_LIMIT)."""


@pytest.fixture
def loaded() -> Generator[Loaded]:
    """Probes that are attached to nothing: nobody else changes their maps."""
    probes = load("libbpf")
    yield next(part for part in probes.parts if "lineage" in part.maps)
    probes.close()


def join(loaded: Loaded, pid: int, start_ns: int = 1) -> None:
    loaded.update("lineage", struct.pack("=I", pid), struct.pack("=QQ", start_ns, 0))


def members(loaded: Loaded) -> set[int]:
    found: set[int] = set()
    key = bpf.next_key(loaded.maps["lineage"], None, 4)
    while key is not None:
        found.add(int.from_bytes(key, "little"))
        key = bpf.next_key(loaded.maps["lineage"], key, 4)
    return found


def test_who_is_gone_twice_is_removed(loaded: Loaded) -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as alive:
        for pid in (os.getpid(), alive.pid, NOBODY, NOBODY + 1):
            join(loaded, pid)
        lineage = Lineage(loaded.maps["lineage"], host.is_there)

        assert lineage.sweep() == 0
        join(loaded, NOBODY + 1, start_ns=2)  # another one
        assert lineage.sweep() == 1

        assert members(loaded) == {os.getpid(), alive.pid, NOBODY + 1}
        assert lineage.sweep() == 1
        alive.communicate()
    sweeps = [lineage.sweep(), lineage.sweep()]

    assert sweeps == [0, 1]
    assert members(loaded) == {os.getpid()}


def test_sweeps_come_round_in_a_full_map(loaded: Loaded) -> None:
    for number in range(10_000):
        join(loaded, NOBODY + number)
    lineage = Lineage(loaded.maps["lineage"], host.is_there)

    removed = sum(lineage.sweep() for _ in range(40))

    assert removed == 10_000
    assert members(loaded) == set()
