"""podman as root and as a user, and buildah."""

from collections.abc import Generator

import pytest

from support.engines.daemons import add_user, as_user, building, set_podman_up
from support.engines.page import Row
from support.engines.room import Room
from support.engines.told import (
    asked_by,
    incomplete,
    looked_up,
    other_resolver,
    seen,
    told,
)
from support.lab import SERVER4
from support.sidecars import Sidecar

IMAGE = "localhost/image:1"


@pytest.fixture(scope="module", autouse=True)
def podman(room: Room) -> Generator[None]:
    """Podman for root, with its socket, and for a user."""
    set_podman_up(room)
    add_user(room)
    words = ["podman", "system", "service", "--time=0", "unix:///shared/podman.sock"]
    service = room.start("podman.log", *words)
    try:
        while room.run("podman", "--url", words[-1], "version").status:
            assert service.poll() is None
        yield
    finally:
        service.kill()
        service.wait()


def run(*options: str) -> list[str]:
    """Return the words that run a container for each port that follows."""
    words = f"podman run --rm {' '.join(options)} /connect {SERVER4} $port"
    return ["sh", "-euc", f"for port; do {words}; done", "sh"]


@pytest.mark.parametrize(
    ("how", "first", "options"),
    [
        ("`podman run --rm`", 4300, [IMAGE]),
        ("`podman run --rootfs DIR:O`", 4320, ["--rootfs", "/shared/image:O"]),
        ("`podman run --cgroups=disabled`", 4330, ["--cgroups=disabled", IMAGE]),
        ("`podman run --network=host`", 4340, ["--network=host", IMAGE]),
    ],
)
def test_roots_containers(
    room: Room, aside: Sidecar, how: str, first: int, options: list[str]
) -> None:
    ports = range(first, first + 10)
    room.do(*run(*options), *map(str, ports))
    aside.stop()

    who = seen(aside, told(aside, ports), Row("podman", how, len(ports)))
    assert len({one["key"] for one in who}) == len(ports)


def test_a_name_in_a_network_of_the_users(room: Room, aside: Sidecar) -> None:
    room.do("podman", "network", "create", "lab")
    fetch = ["/bin/busybox", "wget", "-qO-", "http://four.example.test/"]
    assert room.do("podman", "run", "--rm", "--network=lab", IMAGE, *fetch) == "hello"
    aside.stop()

    found = told(aside, [80], "/bin/busybox")
    assert looked_up(found) == ["four.example.test"]
    asked = aside.reached(ip="10.89.0.1", port=53)
    assert {one["reason"] for one in asked} == {"a trusted resolver"}
    how = "`podman run --network NET`, by a name (aardvark-dns)"
    seen(aside, found, Row("podman", how, 1, name="yes"))


def test_a_name_from_a_server_that_was_chosen_is_not_known(
    room: Room, aside: Sidecar
) -> None:
    with other_resolver(room.network) as other:
        room.do("podman", "network", "create", "chosen")
        fetch = ["/bin/busybox", "wget", "-qO-", "http://four.example.test/"]
        run = ["podman", "run", "--rm", "--network=chosen", f"--dns={other}", IMAGE]
        assert room.do(*run, *fetch) == "hello"
    aside.stop()

    assert looked_up(told(aside, [80], "/bin/busybox")) == []
    assert other in " ".join(asked_by(aside, "/bin/busybox"))


@pytest.mark.parametrize(("network", "first"), [("pasta", 4350), ("slirp4netns", 4360)])
def test_a_users_containers(
    room: Room, aside: Sidecar, network: str, first: int
) -> None:
    ports = range(first, first + 5)
    room.do(*as_user(*run(f"--network={network}", IMAGE)), *map(str, ports))
    aside.stop()

    made = [one for one in aside.verified() if one["type"] == "connection"]
    helpers = {
        one["process"]["exe"].rpartition("/")[2].partition(".")[0]
        for one in made
        if one["dst"]["port"] in ports and one["process"]["exe"] != "/connect"
    }
    assert helpers == {network}  # in the machine's network, by what relays
    how = f"rootless, `podman run --network={network}`"
    notes = f"and once more by {network}, from the machine's network"
    if "TUN" in incomplete(aside):
        notes += "; the run is `incomplete`, for the TUN device"
    who = seen(aside, told(aside, ports), Row("podman", how, len(ports), notes=notes))
    assert len({one["key"] for one in who}) == len(ports)


@pytest.mark.parametrize(("isolation", "first"), [("oci", 4370), ("chroot", 4380)])
def test_the_steps_of_a_build(
    room: Room, aside: Sidecar, isolation: str, first: int
) -> None:
    ports = range(first, first + 5)
    room.do("buildah", "bud", f"--isolation={isolation}", building(room, IMAGE, ports))
    aside.stop()

    how = f"`buildah bud --isolation={isolation}`"
    seen(aside, told(aside, ports), Row("buildah", how, len(ports)))
