"""runc and crun, without an engine above them."""

import pytest

from support.engines.bundles import bundles
from support.engines.page import Row
from support.engines.room import Room
from support.engines.told import seen, told
from support.sidecars import Sidecar

PORTS = range(4100, 4200)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_each_container_is_seen_from_its_first_instruction(
    room: Room, aside: Sidecar, runtime: str
) -> None:
    bundles(room, f"/{runtime}-test", PORTS)
    each = f'{runtime} run --bundle "/shared/bundles/$port" "{runtime}-$port"'
    ports = " ".join(map(str, PORTS))
    room.do("sh", "-euc", f"for port in {ports}; do {each}; done")
    aside.stop()

    seen(aside, told(aside, PORTS), Row(runtime, f"`{runtime} run`", len(PORTS)))
