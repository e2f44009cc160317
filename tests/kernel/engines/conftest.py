"""Container engines, each in a room of its own, under a sidecar of the whole machine.

`scripts/test-engines` runs these: the engines are fetched once, half a minute.
"""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from support.engines import making
from support.engines.image import image
from support.engines.room import Room
from support.engines.room import room as made
from support.lab import lab
from support.sidecars import Sidecar, sidecar

ASKED = "EGRESSMON_ENGINES"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="scripts/test-engines runs it")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engines)
            if os.environ.get(ASKED) != "1":
                item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root folder that has the engines."""
    return making.root(making.cache())


@pytest.fixture(scope="module")
def room(root: Path, build: Callable[[str], str], can_load: None) -> Generator[Room]:  # noqa: ARG001 -- order
    """A room for the tests of a module, with a network of its own."""
    with lab() as network, made(root, network) as one:
        image(one.shared, build("connect"))
        yield one


@pytest.fixture
def begin(room: Room) -> Generator[Callable[..., Sidecar]]:
    """Starts a sidecar of what the words given to it name; it only reports.

    It has the engines' root folder and network, as on a machine that they are of.
    """
    with sidecar(where=room.shared) as one:

        def started(*scope: str) -> Sidecar:
            options = ["--policy", str(one.folder / "egress.toml")]
            for engine in ("docker", "podman"):
                options += ["--engine-socket", f"{engine}={room.shared}/{engine}.sock"]
            seen_from = room.enter(sees_machine=True)
            done = one.start(*scope, *options, prefix=seen_from)
            assert done.returncode == 0, done.stderr
            return one

        yield started


@pytest.fixture
def aside(begin: Callable[..., Sidecar]) -> Sidecar:
    """A sidecar of the whole machine, that watches."""
    return begin("--all")
