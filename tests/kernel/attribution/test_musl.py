"""A C library without unwind tables: what is on the stack is believed with a reason."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.watching import Watched

Watch = Callable[..., Watched]
SOURCES = Path(__file__).parent / "sources"
pytestmark = [pytest.mark.userspace, pytest.mark.processor]


@pytest.mark.parametrize("calls", ["-fplt", "-fno-plt"])
def test_the_caller_is_who_called(watched: Watch, tmp_path: Path, calls: str) -> None:
    library, program = tmp_path / "libdial.so", tmp_path / "program"
    musl = ["musl-gcc", "-O2", "-Wall", calls]
    shared = ["-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*musl, *shared, str(SOURCES / "musl_dial.c")], check=True)
    linked = ["-o", str(program), f"-Wl,-rpath,{tmp_path}", str(library)]
    subprocess.run([*musl, str(SOURCES / "musl_main.c"), *linked], check=True)

    run = watched(str(program))

    assert run.status == 0, run.stderr
    found = {one["dst"]["port"]: one for one in run.of("connection")}
    assert set(found) == {7, 8, 9, 10}
    for port in (7, 8, 9):
        module = found[port]["module"]
        assert module["caller"]["path"] == str(library), module
        hows = [(one["file"], one["how"]) for one in module["chain"]]
        assert hows[1:3] == [("libdial.so", "scan"), ("program", "cfi")]
    # By a pointer that only the process knows.
    fields = ("module", "module_reason", "route")
    assert [found[10][name] for name in fields] == [None, "no unwind tables", "unknown"]
