"""containerd by its own command, `ctr`."""

from collections.abc import Generator

import pytest

from support.engines.bundles import bundles
from support.engines.page import Row
from support.engines.room import Room
from support.engines.told import seen, told
from support.sidecars import Sidecar

PORTS = range(4400, 4410)


@pytest.fixture(scope="module", autouse=True)
def daemon(room: Room) -> Generator[None]:
    """containerd, in the module's room."""
    one = room.start("containerd.log", "containerd")
    try:
        while room.run("ctr", "version").status:
            log = room.shared / "containerd.log"
            assert one.poll() is None, log.read_text(errors="replace")[-4000:]
        yield
    finally:
        one.kill()  # its containers end with the room
        one.wait()


# What ctr asks for by itself is a controller that a hybrid machine does not have there.
def test_programs_that_end_at_once(room: Room, aside: Sidecar) -> None:
    bundles(room, "/ctr-test", PORTS)
    each = 'ctr run --rm --config "/shared/bundles/$port/config.json" "ctr-$port"'
    room.do("sh", "-euc", f"for port; do {each}; done", "sh", *map(str, PORTS))
    aside.stop()

    seen(aside, told(aside, PORTS), Row("containerd", "`ctr run --config`", len(PORTS)))
