"""Kernel tests need root and BPF; EGRESSMON_KERNEL_TESTS=1 makes a skip a failure."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from egressmon.probes.errors import ProbeError
from egressmon.probes.loaders.loading import load
from support.lab import Lab, lab
from support.sidecars import Sidecar, sidecar
from support.watching import Watched, watch

FORCED = "EGRESSMON_KERNEL_TESTS"
CLIENTS = Path(__file__).parent / "clients"


@cache
def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    try:
        load("auto").close()
    except ProbeError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kernel" in item.path.parts:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(autouse=True, scope="session")
def can_load() -> None:
    reason = _why_not()
    if reason is not None and os.environ.get(FORCED) == "1":
        pytest.fail(f"{FORCED} is set, but this machine cannot: {reason}")
    if reason is not None:
        pytest.skip(f"{reason} (set {FORCED}=1 to fail instead)")


@pytest.fixture(scope="session")
def network(can_load: None) -> Generator[Lab]:  # noqa: ARG001 -- order
    with lab() as built:
        yield built


@contextmanager
def _lock(path: Path, how: int) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield


@pytest.fixture(autouse=True)
def turn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[None]:
    """Keep all other workers' kernel tests waiting while one that is `alone` runs."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    folder = tmp_path_factory.getbasetemp().parent  # the same for all workers
    alone = request.node.get_closest_marker("alone") is not None
    with ExitStack() as stack:
        # Whoever waits to be alone stands at the door, so that nobody overtakes.
        with _lock(folder / "door", fcntl.LOCK_EX):
            how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
            stack.enter_context(_lock(folder / "room", how))
        yield


Watch = Callable[..., Watched]


@pytest.fixture
def watched(network: Lab, tmp_path: Path) -> Watch:
    """Run `egressmon watch` in the test network's client namespace."""

    def run(*command: str, through: tuple[str, ...] = (), **how: Any) -> Watched:
        # What comes through runs between the namespace and egressmon.
        return watch(tmp_path, *command, prefix=[*network.enter(), *through], **how)

    return run


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compile clients/NAME.c statically, once; returns the program's path."""
    folder = tmp_path_factory.mktemp("clients")

    @cache
    def compiled(name: str) -> str:
        target = folder / name
        subprocess.run(
            [
                "gcc",
                "-O1",
                "-Wall",
                "-static",
                "-pthread",
                "-o",
                str(target),
                str(CLIENTS / f"{name}.c"),
            ],
            check=True,
        )
        return str(target)

    return compiled


@pytest.fixture
def aside() -> Generator[Sidecar]:
    """A sidecar, not started yet, whose policy allows nothing, and reports."""
    with sidecar() as one:
        yield one
