"""What each of four layers makes of the ways out of a Python process."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import SERVER4
from support.watching import EGRESSMON, Json, Watched
from support.ways import WAYS

Watch = Callable[..., Watched]
Compile = Callable[..., str]
SOURCES = Path(__file__).with_name("sources")
ROOT = Path(__file__).parents[3]
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


@pytest.fixture(scope="session")
def guarded(python: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an interpreter of an environment that has the clients and the guard."""
    folder = tmp_path_factory.mktemp("guarded")
    base = Path(python).resolve()
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    interpreter = folder / "bin/python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    places = [
        subprocess.check_output([one, "-c", asked], text=True).strip()
        for one in (interpreter, python, sys.executable)
    ]
    rooms = [str(ROOT / one) for one in ("monitor", "policy", "probes")]
    lines = [*rooms, places[1], places[2]]
    Path(places[0], "!clients.pth").write_text("\n".join(lines) + "\n")
    for one in Path(places[2]).glob("egressmon-*.dist-info"):
        shutil.copytree(one, Path(places[0], one.name))
    return str(interpreter)


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


def enable(interpreter: str, policy: str, folder: Path) -> None:
    """Enable the guard in the environment of `interpreter`, with the `policy`."""
    file = folder / "guard.toml"
    file.write_text(policy)
    words = ["guard", "enable", "--policy", str(file)]
    command = [interpreter, *EGRESSMON[1:], *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_guard_refuses(
    measured: Callable[..., dict[str, list[Json]]], guarded: str, tmp_path: Path
) -> None:
    enable(guarded, "version = 1\n", tmp_path)

    found = measured(guarded, BEFORE["nothing"])

    assert refused(found) == {name: way.guard for name, way in WAYS.items()}


def test_what_the_kernel_says_of_the_guard(
    measured: Callable[..., dict[str, list[Json]]], guarded: str, tmp_path: Path
) -> None:
    enable(guarded, POLICY, tmp_path)

    found = measured(guarded, BEFORE["nothing"])

    # Of what an io_uring worker does, no stack tells who asked for it.
    states = {
        name: {one["guard"] for one in found[name]} - {"unknown"} for name in WAYS
    }
    assert states == {name: {way.kernel} for name, way in WAYS.items()}


@pytest.mark.parametrize("layer", ["wrapper", "pytest_socket"])
def test_what_a_guard_of_others_refuses(
    measured: Callable[..., dict[str, list[Json]]], python: str, layer: str
) -> None:
    found = measured(python, BEFORE[layer])

    expected = {name: bool(getattr(way, layer)) for name, way in WAYS.items()}
    assert refused(found) == expected
