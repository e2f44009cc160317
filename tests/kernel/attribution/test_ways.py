"""What each of four layers makes of the ways out of a Python process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import SERVER4
from support.watching import Json, Watched
from support.ways import WAYS

Watch = Callable[..., Watched]
Compile = Callable[..., str]
SOURCES = Path(__file__).with_name("sources")
FIRST = 20000
STEP = 2  # io_uring connects twice
HEAD = """\
HOST, PORT, LIBRARIES = {host!r}, {port}, {libraries!r}
DIAL = {dial!r}
"""
BEFORE = {
    "nothing": "",
    # As in a program or a test session: what it starts does not run this again.
    "wrapper": """\
if __name__ == "__main__":
    import socket
    def refuse(*_, **__):
        raise PermissionError("refused")
    socket.create_connection = refuse
""",
    "pytest_socket": """\
if __name__ == "__main__":
    import pytest_socket
    pytest_socket.disable_socket()
""",
}
POLICY = f"""
version = 1
[[allow]]
cidr = "{SERVER4}"
ports = "any"
protocol = "any"
"""


@pytest.fixture
def libraries(compiled: Compile, extension: str, tmp_path: Path) -> Path:
    """Return the folder of what the programs load."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    shared = ("-shared", "-fPIC")
    for one in Path(extension).glob("extension.*.so"):
        shutil.copy(one, folder)
    shutil.copy(compiled("uring", "uring.so", *shared, "-Dmain=by_ring"), folder)
    shutil.copy(compiled("preloaded", "preloaded.so", *shared), folder)
    shutil.copy(compiled("leave", "leave"), folder)
    return folder


@pytest.fixture
def measured(
    watched: Watch, libraries: Path, tmp_path: Path
) -> Callable[..., dict[str, list[Json]]]:
    """Return how to run all programs under the kernel's eyes."""

    def run(python: str, before: str) -> dict[str, list[Json]]:
        folder = tmp_path / "programs"
        folder.mkdir()
        for number, way in enumerate(WAYS.values()):
            port = FIRST + number * STEP
            head = HEAD.format(
                host=SERVER4,
                port=port,
                libraries=str(libraries),
                dial=f"{libraries}/leave {port}",
            )
            path = folder / f"way{number:02}.py"
            path.write_text(before + head + way.program)
        found = watched(
            python, str(SOURCES / "run_ways.py"), str(folder), policy=POLICY
        )
        return by_way(found)

    return run


def by_way(run: Watched) -> dict[str, list[Json]]:
    """Return the connections that the kernel saw of each way."""
    assert run.end["complete"], run.stderr
    found: dict[str, list[Json]] = {name: [] for name in WAYS}
    names = list(WAYS)
    for one in run.of("connection"):
        number = ((one["dst"]["port"] or 0) - FIRST) // STEP
        if 0 <= number < len(names):
            found[names[number]].append(one)
    return found


def refused(found: dict[str, list[Json]]) -> dict[str, bool]:
    """Return of which ways nothing left."""
    return {name: not records for name, records in found.items()}


def test_the_kernel_sees_them_all(
    measured: Callable[..., dict[str, list[Json]]], python: str
) -> None:
    found = measured(python, BEFORE["nothing"])

    assert not any(refused(found).values()), refused(found)


@pytest.mark.parametrize("layer", ["wrapper", "pytest_socket"])
def test_what_a_guard_of_others_refuses(
    measured: Callable[..., dict[str, list[Json]]], python: str, layer: str
) -> None:
    found = measured(python, BEFORE[layer])

    expected = {name: bool(getattr(way, layer)) for name, way in WAYS.items()}
    assert refused(found) == expected
