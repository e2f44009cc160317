"""runc and crun, without an engine above them."""

import secrets
from collections.abc import Callable

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


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_each_that_is_chosen_by_its_id_is_seen_from_its_first_instruction(
    room: Room, begin: Callable[..., Sidecar], runtime: str
) -> None:
    ids = {port: secrets.token_hex(32) for port in PORTS}
    chosen = [word for one in ids.values() for word in ("--container", one[:12])]
    aside = begin(*chosen)
    names = {port: f"docker-{one}.scope" for port, one in ids.items()}
    bundles(room, f"/{runtime}-test", PORTS, names)
    each = f'{runtime} run --bundle "/shared/bundles/$port" "{runtime}-id-$port"'
    ports = " ".join(map(str, PORTS))
    room.do("sh", "-euc", f"for port in {ports}; do {each}; done")
    aside.stop()

    how = f"`{runtime} run`, `sidecar --container ID`"
    who = seen(aside, told(aside, PORTS), Row(runtime, how, len(PORTS)))
    assert {one["id"] for one in who} == set(ids.values())
    assert {one["watched"] for one in who} == {"yes"}
    assert aside.records()[-1]["choice"]["unmatched"] == []
